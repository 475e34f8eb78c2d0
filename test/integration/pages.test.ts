// A person who opens a URL of the Hub at the mirror gets one small page with a link to the Hub. No page of the Hub comes
// through the mirror, and what programs request does.

import { describe, expect, it } from 'vitest'
import { openCompany } from '../support/company-world.ts'
import { TOKENS } from '../support/mirror-world.ts'
import { policiesOf } from '../support/policies.ts'
import { rawHttp } from '../support/raw-http.ts'
import { openScene, type Scene } from '../support/scene.ts'

const BROWSER = {
  accept: 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8',
  cookie: 'token=abc',
}
const PAGES = [
  '/acme/open',
  '/acme/open/',
  '/acme/none',
  '/acme/secret',
  '/gpt2',
  '/acme/open.git',
  '/acme/open/blob/main/config.json',
  '/acme/open/tree/main',
  '/acme/open/blame/main/config.json',
  '/acme/open/commits/main',
  '/acme/open/discussions/1',
  '/acme/open/settings',
  '/acme/open/RAW/main/config.json',
  '/datasets',
  '/datasets/acme/data',
  '/datasets/acme/data/viewer/default/train',
  '/spaces/acme/demo',
  '/models',
  '/papers/2601.00001',
  '/docs/hub/index',
  '/login',
  '/join',
  '/settings/tokens',
  '/oauth/authorize',
  '/oauth/device',
  '/parquet',
  '/favicon.ico',
]

async function expectPage(scene: Scene, target: string): Promise<void> {
  for (const question of [{}, { token: TOKENS.alice }, { token: TOKENS.invalid }]) {
    const got = await scene.ask(target, { ...question, headers: BROWSER })
    expect([target, got.status, got.headers['content-type']]).toEqual([
      target,
      404,
      'text/html; charset=utf-8',
    ])
    expect(got.body.toString()).toContain(
      `<a href="${scene.hub.url}${target}" rel="noreferrer">${scene.hub.url}${target}</a>`,
    )
    expect(got.body.toString()).toContain(`<pre>HF_ENDPOINT=${scene.mirror.url}</pre>`)
    expect(got.headers['x-error-code']).toBe('PageNotMirrored')
  }
  const text = await scene.ask(target)
  expect([text.status, text.headers['content-type']]).toEqual([404, 'text/plain; charset=utf-8'])
  expect(text.body.toString()).toContain(`${scene.hub.url}${target}\n`)
  expect(text.body.toString()).toContain(`HF_ENDPOINT=${scene.mirror.url}\n`)
  const head = await scene.ask(target, { method: 'HEAD' })
  expect([head.status, head.body.length, head.headers['content-length']]).toEqual([
    404,
    0,
    String(text.body.length),
  ])
}

describe('a page of the Hub', () => {
  it('is answered with a link to the Hub, which is not asked', async () => {
    const scene = await openScene()
    for (const target of PAGES) await expectPage(scene, target)
    expect(scene.hub.ledger.requests()).toEqual([])
  })

  it('at / says what this is, with a status that a probe accepts', async () => {
    const scene = await openScene()
    for (const headers of [BROWSER, {}]) {
      const got = await scene.ask('/', { headers })
      expect([got.status, got.headers['x-error-code'], got.headers['x-cache']]).toEqual([
        200,
        undefined,
        undefined,
      ])
      expect(got.body.toString()).toContain('mirror of the Hugging Face Hub')
      expect(got.body.toString()).toContain(`${scene.hub.url}/`)
    }
    expect(scene.hub.ledger.requests()).toEqual([])
  })

  it('can do nothing in a browser, and is not kept there', async () => {
    const scene = await openScene()
    for (const target of ['/', '/acme/open']) {
      const { headers, body } = await scene.ask(target, { headers: BROWSER })
      expect(headers).toMatchObject({
        'cache-control': 'no-store',
        'content-security-policy':
          "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        'referrer-policy': 'no-referrer',
        'x-content-type-options': 'nosniff',
        vary: 'Accept',
      })
      expect(headers['set-cookie']).toBeUndefined()
      expect(body.toString()).not.toMatch(/<(?:script|form|iframe|img|style|base)\b/i)
    }
  })

  it('has no text of its caller but as text, and no link to any other place', async () => {
    const scene = await openScene()
    for (const target of [
      '/acme/"><script>alert(1)</script>',
      "/acme/'onmouseover='alert(1)",
      '/acme/x?next="><script>alert(1)</script>',
      '/login?next=https://evil.test/&code=one-time',
      '//evil.test/x',
      '///evil.test',
      '/@evil.test/x',
      '/https:%2F%2Fevil.test',
      '/%2F%2Fevil.test',
      '/javascript:alert(1)',
      '/.evil.test/x',
    ]) {
      const asked = `GET ${target} HTTP/1.1\r\nHost: mirror.test\r\nAccept: text/html\r\nConnection: close\r\n\r\n`
      const got = await rawHttp(scene.mirror.url, asked)
      expect([400, 404]).toContain(got.status)
      const text = got.body.toString()
      expect(text).not.toMatch(/<script|'onmouseover|one-time|next=/)
      for (const [, href = ''] of text.matchAll(/href="([^"]*)"/g))
        expect([target, new URL(href).origin]).toEqual([target, scene.hub.url])
    }
    const asked =
      'GET /acme/open HTTP/1.1\r\nHost: "><script>\r\nAccept: text/html\r\nConnection: close\r\n\r\n'
    expect((await rawHttp(scene.mirror.url, asked)).body.toString()).not.toContain('<script')
    expect(scene.hub.ledger.requests()).toEqual([])
  })

  it('is the same for all callers and repos, whatever rules and tokens say, and while the Hub is away', async () => {
    const { scene, issue } = await openCompany({ rules: '- {name: none, action: deny}' })
    const narrow = await issue('narrow', { repos: ['acme/*'] })
    await scene.hub.stop()
    const seen = new Set<string>()
    for (const target of ['/acme/open', '/acme/secret', '/other/none']) {
      for (const token of [undefined, narrow, `${narrow.slice(0, -1)}x`, TOKENS.bob]) {
        const got = await scene.ask(target, { token })
        seen.add(`${got.status} ${got.body.toString().replaceAll(target, '')}`)
      }
    }
    expect([...seen]).toHaveLength(1)
  })

  it('whose form is sent goes to the Hub as before', async () => {
    const scene = await openScene({ config: { writes: 'deny' } })
    const form = { method: 'POST', token: TOKENS.alice, body: 'a=b' }
    expect((await scene.ask('/acme/gated/ask-access', form)).status).toBe(403)
    await scene.restart({ writes: 'forward' })
    await scene.ask('/acme/gated/ask-access', form)
    await scene.ask('/oauth/device', { ...form, token: undefined })
    const sent = scene.hub.ledger.requests()
    expect(sent.map(({ method, url }) => [method, url])).toEqual([
      ['POST', '/acme/gated/ask-access'],
      ['POST', '/oauth/device'],
    ])
  })
})

it('what programs request beside files and the API reaches the Hub, whatever they accept', async () => {
  const scene = await openScene({
    config: { policies: policiesOf('- {action: allow}') },
  })
  const targets = [
    '/acme/open/raw/main/config.json',
    '/acme/open.git/info/refs?service=git-upload-pack',
    '/acme/open/info/refs?service=git-upload-pack',
    '/acme/open.git/info/lfs/locks',
    '/datasets/acme/data/info/refs?service=git-upload-pack',
    '/gpt2/raw/main/config.json',
    '/acme/open/resolve/main',
    '/models/acme/open/raw/main/config.json',
    '/buckets/acme/b/resolve/x.txt',
    '/v2/',
    '/v2/acme/none/manifests/latest',
    '/oauth/userinfo',
    '/.well-known/openid-configuration',
    '/papers/2601.00001.md',
    '/docs/hub/index.md',
    '/api/',
    '/api/organizations/acme/overview',
  ]
  for (const target of targets) {
    const got = await scene.ask(target, { headers: { accept: 'text/html' } })
    expect([target, got.headers['x-error-code']]).not.toEqual([target, 'PageNotMirrored'])
  }
  const sent = new Set(scene.hub.ledger.requests().map(({ url }) => url))
  expect(targets.filter((target) => !sent.has(target))).toEqual([])
})
