// The way to the Hub by a forward proxy. Every name leads to the simulator there, so that only the proxy can know it.

import { describe, expect, it, onTestFinished } from 'vitest'
import type { Config } from '../../src/config/keys.ts'
import { readProxies } from '../../src/http/proxies.ts'
import { type ForwardProxyOptions, startForwardProxy } from '../hub-simulator/forward-proxy.ts'
import { ask, type Question } from '../support/ask.ts'
import { gitClient, hasGit, whenStored } from '../support/git-client.ts'
import { TOKENS } from '../support/mirror-world.ts'
import { openScene } from '../support/scene.ts'

const CONFIG = '/acme/open/resolve/main/config.json'
const PASSED = '/acme/open/raw/main/config.json'

/** A mirror of `origin` that has this environment, with `PROXY` in its values for the address of the proxy. */
async function open(
  origin: string | undefined,
  env: Record<string, string>,
  options: Partial<ForwardProxyOptions & Pick<Config, 'originTimeoutMs'>> = {},
) {
  const scene = await openScene()
  const { hub } = scene
  const { originTimeoutMs, ...behaviour } = options
  const proxy = await startForwardProxy({ to: new URL(hub.url).host, ...behaviour })
  onTestFinished(() => proxy.close())
  const filled = Object.fromEntries(
    Object.entries(env).map(([name, value]) => [name, value.replace('PROXY', proxy.address)]),
  )
  const url = new URL(origin ?? hub.url)
  const { proxies } = readProxies(filled, url.protocol === 'http:' ? 'http' : 'https')
  const config = { origin: url, proxies, ...(originTimeoutMs === undefined ? {} : { originTimeoutMs }) }
  const mirror = await scene.another({ config })
  return {
    hub,
    proxy,
    mirror,
    ask: (target: string, question?: Question) => ask(mirror.url, target, question),
  }
}

describe('a plain http origin behind a proxy', () => {
  it('is requested in absolute form, for files and all other requests', async () => {
    const { ask, proxy } = await open('http://hub.example', { HTTP_PROXY: 'http://PROXY' })
    const file = await ask(CONFIG)
    expect([file.status, file.body.toString()]).toEqual([200, '{"model_type":"open","v":2}\n'])
    expect((await ask(PASSED, { token: TOKENS.alice })).status).toBe(200)
    const post = await ask('/api/validate-yaml', { method: 'POST', body: '{"content":"x"}' })
    expect(post.status).toBe(200)
    expect(proxy.asked.length).toBeGreaterThan(3)
    for (const { method, target, host } of proxy.asked) {
      expect(['GET', 'HEAD', 'POST']).toContain(method)
      expect([target.startsWith('http://hub.example/'), host]).toEqual([true, 'hub.example'])
    }
  })

  it('gets no password of the proxy, and the proxy gets it with each request', async () => {
    const login = { login: 'user:p@ss' }
    const { ask, hub, proxy } = await open('http://hub.example', { http_proxy: 'user:p%40ss@PROXY' }, login)
    expect((await ask(CONFIG)).status).toBe(200)
    expect((await ask(PASSED)).status).toBe(200)
    expect(new Set(proxy.asked.map((asked) => asked.login))).toEqual(new Set(['user:p@ss']))
    const seen = hub.ledger.requests({ server: 'hub' })
    expect(seen.length).toBe(proxy.asked.length)
    for (const { headers } of seen) {
      expect([headers['proxy-authorization'], headers.authorization]).toEqual([undefined, undefined])
    }
  })

  it.skipIf(!hasGit)('is reached by git through the same proxy, which gets its password', async () => {
    const login = { login: 'user:p@ss' }
    const env = { http_proxy: 'user:p%40ss@PROXY' }
    const { mirror, hub, proxy } = await open('http://hub.example', env, login)
    const client = await gitClient()
    await client.ok(['clone', '--quiet', `${mirror.url}/acme/open`, 'first'])
    await whenStored(mirror.cacheDir)
    const targets = proxy.asked.map(({ target }) => target)
    const refs = 'http://hub.example/acme/open/info/refs?service=git-upload-pack'
    expect(targets.filter((target) => target === refs).length).toBeGreaterThanOrEqual(2)
    for (const { headers } of hub.ledger.requests({ server: 'hub' }))
      expect(headers['proxy-authorization']).toBe(undefined)
    await hub.stop()
    await client.ok(['clone', '--quiet', `${mirror.url}/acme/open`, 'away'])
  })

  it('is requested directly if NO_PROXY says so', async () => {
    const env = { HTTP_PROXY: 'http://PROXY', NO_PROXY: '127.0.0.0/8' }
    const { ask, proxy } = await open(undefined, env)
    expect((await ask(PASSED)).status).toBe(200)
    expect(proxy.asked).toEqual([])
  })
})

describe.each([
  ['http://hub.example', 'HTTP_PROXY'],
  ['https://hub.example', 'HTTPS_PROXY'],
])('for %s, a proxy', (origin, variable) => {
  const failure = async (value: string, options: Partial<ForwardProxyOptions>): Promise<string[]> => {
    const { ask, mirror } = await open(origin, { [variable]: value }, options)
    const texts: string[] = []
    for (const target of [CONFIG, PASSED]) {
      const got = await ask(target)
      expect(got.headers['x-error-code']).toMatch(/^Origin(Unreachable|Timeout)$/)
      texts.push(got.headers['x-error-message'] ?? '')
    }
    const ready = JSON.parse((await ask('/readyz')).body.toString()) as {
      checks: { origin: { ok: boolean; detail: string } }
    }
    expect(ready.checks.origin).toEqual({ ok: false, detail: texts[0] })
    const [line = '', ...more] = mirror.logLines('the origin is unreachable')
    expect(more).toEqual([])
    expect(line).toContain(texts[0])
    for (const text of [...texts, mirror.logText()]) expect(text).not.toContain('s3cret')
    for (const text of texts) expect(text).not.toContain('127.0.0.1')
    expect(new Set(texts).size).toBe(1)
    return texts
  }

  it('that rejects the password is reported, with the variable to correct', async () => {
    const [text] = await failure('http://user:s3cret@PROXY', { login: 'user:other' })
    expect(text).toMatch(/its user name or password is wrong \(407\)/)
    expect(text).toContain(`correct them in ${variable}`)
  })

  it('that requires a password is reported', async () => {
    const [text] = await failure('http://PROXY', { login: 'user:other' })
    expect(text).toMatch(/was asked by its proxy for a user name and password \(407\)/)
  })

  it('that cannot be reached is reported', async () => {
    const [text] = await failure('http://127.0.0.1:1', {})
    expect(text).toMatch(/was refused the connection to its proxy/)
    expect(text).toContain(`check ${variable}`)
  })
})

it('a proxy that refuses CONNECT is reported, with its answer', async () => {
  const { ask } = await open('https://hub.example', { HTTPS_PROXY: 'PROXY' }, { connectStatus: 403 })
  const got = await ask(PASSED)
  expect([got.status, got.headers['x-error-code']]).toEqual([502, 'OriginUnreachable'])
  expect(got.headers['x-error-message']).toMatch(
    /got no connection to the Hub from its proxy, which answered 403/,
  )
})

it('a proxy that does not answer is given up after the timeout for connections', async () => {
  const silent = { isSilent: true, originTimeoutMs: 100 }
  const { ask } = await open('https://hub.example', { HTTPS_PROXY: 'PROXY' }, silent)
  const got = await ask(PASSED)
  expect([got.status, got.headers['x-error-code']]).toEqual([504, 'OriginTimeout'])
  expect(got.headers['x-error-message']).toMatch(/no connection to its proxy in time/)
})
