// The doctor, as the command and as the Python file that the mirror serves, before servers that are wrong in one way each:
// the first check that fails must be the cause. Prints what was found as a table.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  request as requestHttp,
  type ServerResponse,
} from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { CHECKS } from '../../src/doctor/checks.ts'
import { spawnServer, untilUp } from '../bench/servers.ts'
import { startNginx } from '../compare/nginx.ts'
import { type ForwardProxyOptions, startForwardProxy } from '../hub-simulator/forward-proxy.ts'
import { EXPIRED_CERTIFICATE, GOOD_CERTIFICATE, OTHER_CERTIFICATE, TEST_CA } from '../support/certificates.ts'
import { freePort } from '../support/free-port.ts'
import { TOKENS } from '../support/mirror-world.ts'
import { run } from '../support/run-cli.ts'
import { openScene, type Scene } from '../support/scene.ts'
import { SECOND_CA, SECOND_CERTIFICATE, SECOND_KEY } from '../support/tls-certificates.ts'
import { startTlsFront } from '../support/tls-front.ts'
import { commandOf, describeClient, isThere } from './support/tools.ts'

interface Check {
  readonly id: string
  readonly status: string
  readonly message: string
  readonly cure: string
}

interface Result {
  readonly status: number | null
  readonly ok: boolean
  readonly checks: readonly Check[]
  /** The id of the first check that failed. */
  readonly first: string
  readonly output: string
}

const OLAH = commandOf('olah', 'olah-cli')
const LOGIN = 'http://login.example/'
const PORTAL = '<!doctype html><title>Welcome to the guest network</title>'

describeClient('the doctor', ['nginx', 'python3'], () => {
  it('names the cause of each failure first, and says the same as its Python form', async () => {
    const scene = await openScene()
    const folder = await mkdtemp(join(tmpdir(), 'hubmirror-doctor-'))
    onTestFinished(() => rm(folder, { recursive: true }))
    const source = await (await fetch(`${scene.mirror.url}/-/doctor.py`)).text()
    const table: string[] = ['| server | first finding | Python | message |', '|---|---|---|---|']
    const wrong: string[] = []
    const rows = [...(await rowsOf(scene, folder)), ...(await proxyRowsOf(scene, folder))]
    for (const { name, url, first, env, args, says = [] } of rows) {
      const full = { HF_ENDPOINT: url, HF_HOME: folder, HOME: folder, ...env }
      const [node, python] = await Promise.all([
        run(['doctor', '--json', ...args], full).then(resultOf),
        runPython(source, ['--endpoint', url, '--json', ...args], full),
      ])
      const message = node.checks.find(({ id }) => id === node.first)?.message ?? 'no check failed'
      for (const part of says) if (!message.includes(part)) wrong.push(`${name}: ${message} lacks ${part}`)
      table.push(`| ${name} | ${node.first || '–'} | ${python.first || '–'} | ${message} |`)
      for (const { status, checks, ok, first: found, output } of [node, python]) {
        expect(checks.map(({ id }) => id)).toEqual(Object.keys(CHECKS))
        expect(output).not.toContain(env.HF_TOKEN ?? 'hf_aaaa')
        const isRight = found === first && ok === (first === '') && status === (first === '' ? 0 : 1)
        if (!isRight) wrong.push(`${name}: ${output}`)
      }
      const others = python.checks.map(comparable)
      for (const [at, line] of node.checks.map(comparable).entries())
        if (line !== others[at]) wrong.push(`${name}: ${line} is not ${others[at]}`)
    }
    console.log(table.join('\n'))
    expect(wrong).toEqual([])
  })

  it('checks the mirror that served its Python form, read from the standard input', async () => {
    const { mirror } = await openScene()
    const source = await (await fetch(`${mirror.url}/-/doctor.py`)).text()
    const result = await runPython(source, ['--json'], { HOME: '/nonexistent' })
    expect(result.checks.find(({ id }) => id === 'endpoint')).toMatchObject({
      status: 'ok',
      message: `There is a Hub at ${mirror.url} (hubmirror).`,
    })
    expect(result.ok).toBe(true)
  })

  it('checks the server of HF_ENDPOINT in the Python form, and says that another one served the file', async () => {
    const [{ mirror }, other] = [await openScene(), await openScene()]
    const source = await (await fetch(`${mirror.url}/-/doctor.py`)).text()
    const env = { HOME: '/nonexistent', HF_ENDPOINT: other.mirror.url }
    const find = ({ checks }: Result, wanted: string) => checks.find(({ id }) => id === wanted)
    const result = await runPython(source, ['--json'], env)
    expect(find(result, 'endpoint')?.message).toBe(`There is a Hub at ${other.mirror.url} (hubmirror).`)
    expect(find(result, 'environment')).toMatchObject({
      status: 'warn',
      message: `HF_ENDPOINT is ${other.mirror.url}, and this file came from ${mirror.url}. Clients on this machine ask ${other.mirror.url}, and that is what was checked.`,
    })
    const given = await runPython(source, ['--json', '--endpoint', mirror.url], env)
    expect(find(given, 'endpoint')?.message).toBe(`There is a Hub at ${mirror.url} (hubmirror).`)
    expect(find(given, 'environment')?.message).toContain('and clients ask that other one')
    const same = await runPython(source, ['--json'], { ...env, HF_ENDPOINT: mirror.url })
    expect(find(same, 'environment')?.status).toBe('ok')
  })
})

interface Row {
  readonly name: string
  readonly url: string
  /** The id of the check that must fail first; empty if none may fail. */
  readonly first: string
  readonly env: { readonly [name: string]: string; readonly HF_TOKEN?: string }
  readonly args: readonly string[]
  /** What the message of that check must name. */
  readonly says?: readonly string[]
}

/** The mirror behind forward proxies that stop requests in one way each, or stop none. */
async function proxyRowsOf({ mirror }: Scene, folder: string): Promise<readonly Row[]> {
  const [ca, both] = [join(folder, 'proxied.pem'), join(folder, 'both.pem')]
  await writeFile(ca, TEST_CA)
  await writeFile(both, TEST_CA + SECOND_CA)
  const started = async (certificate: string, key?: string, to = mirror.url): Promise<string> => {
    const front = await startTlsFront(to, certificate, key)
    onTestFinished(() => front.close())
    return front.url
  }
  const [front, opening] = [await started(GOOD_CERTIFICATE), await started(SECOND_CERTIFICATE, SECOND_KEY)]
  const row = async (
    name: string,
    url: string,
    options: Partial<ForwardProxyOptions> & {
      readonly login?: string
      readonly trusted?: string
      readonly user?: string
      /** The proxy speaks TLS with this certificate. */
      readonly certificate?: string
      readonly scheme?: string
    },
    first: string,
    ...says: readonly string[]
  ): Promise<Row> => {
    const { user, trusted = ca, certificate, scheme = 'http', ...behaviour } = options
    const proxy = await startForwardProxy({ to: new URL(url).host, ...behaviour })
    onTestFinished(() => proxy.close())
    const address =
      certificate === undefined
        ? proxy.address
        : new URL(await started(certificate, undefined, `http://${proxy.address}`)).host
    const variable = `${new URL(url).protocol.slice(0, -1)}_proxy`
    const env = {
      HF_TOKEN: TOKENS.alice,
      SSL_CERT_FILE: trusted,
      [variable]: `${scheme}://${user === undefined ? '' : `${user}@`}${address}`,
    }
    const place = first === 'proxy' ? [variable, `the proxy ${address}`] : []
    return { name, url, first, env, args: ['--repo', 'acme/secret'], says: [...place, ...says] }
  }
  const [plain, hidden] = [mirror.url, 'http://mirror.invalid']
  const to = new URL(plain).host
  const login = 'user:right'
  const tls = { scheme: 'https', certificate: GOOD_CERTIFICATE }
  const none = `127.0.0.1:${await freePort()}`
  return [
    await row('a proxy that passes on', plain, {}, ''),
    await row('… a name that only it knows', hidden, { to }, ''),
    await row('… with its password', plain, { login, user: login }, ''),
    await row(
      '… and its password is missing',
      plain,
      { login },
      'proxy',
      '407',
      'http_proxy has none',
      'Basic',
    ),
    await row(
      '… and its password is wrong',
      hidden,
      { to, login, user: 'user:wrong' },
      'proxy',
      '407',
      'is refused',
    ),
    await row('a proxy that answers 403', plain, { pageStatus: 403 }, 'proxy', 'it answers 403'),
    await row('… 503, a name that only it knows', hidden, { to, pageStatus: 503 }, 'proxy', 'it answers 503'),
    await row('… 200 with a page', plain, { pageStatus: 200 }, 'proxy', 'it answers 200'),
    await row('a proxy for https that passes on', front, {}, 'links'),
    await row('… and its password is missing', front, { login }, 'proxy', '407', 'https_proxy has none'),
    await row('… that answers CONNECT with 403', front, { connectStatus: 403 }, 'proxy', 'it answers 403'),
    await row('… 503', front, { connectStatus: 503 }, 'proxy', 'it answers 503'),
    await row('… that breaks CONNECT off', front, { to: none }, 'proxy', 'breaks them off'),
    await row(
      '… that opens TLS',
      front,
      { to: new URL(opening).host },
      'proxy',
      'issued by "hubmirror second',
      'the proxy opens TLS',
    ),
    await row('… and its CA is trusted', front, { to: new URL(opening).host, trusted: both }, 'links'),
    await row('… before a mirror with a CA of its own', opening, {}, 'tls'),
    await row('a proxy with TLS', plain, { ...tls, login, user: login }, ''),
    await row('… for https', front, { ...tls, login, user: login }, 'links'),
    await row('… for https, and its password is missing', front, { ...tls, login }, 'proxy', '407'),
    await row('… that opens TLS', front, { ...tls, to: new URL(opening).host }, 'proxy', 'opens TLS'),
    await row(
      '… with a wrong certificate',
      front,
      { ...tls, certificate: OTHER_CERTIFICATE },
      'proxy',
      'by https',
    ),
    await row('a plain proxy by https://', plain, { scheme: 'https' }, 'proxy', 'by https'),
    await row('… https to a plain port', plain.replace('http:', 'https:'), {}, 'tls'),
  ]
}

/** Every server that a row is about, started. They stop with the test. */
async function rowsOf({ hub, mirror }: Scene, folder: string): Promise<readonly Row[]> {
  const ca = join(folder, 'ca.pem')
  await writeFile(ca, TEST_CA)
  const front = async (certificate: string): Promise<string> => {
    const started = await startTlsFront(mirror.url, certificate)
    onTestFinished(() => started.close())
    return started.url
  }
  const nginx = async (name: 'pass-through' | 'naive-cache'): Promise<string> => {
    const started = await startNginx(name, hub)
    onTestFinished(() => started.stop())
    return started.url
  }
  const portal = await serve((_request, response) =>
    response.setHeader('content-type', 'text/html').end(PORTAL),
  )
  const login = await serve((_request, response) => response.writeHead(302, { location: LOGIN }).end())
  const down = `http://127.0.0.1:${await freePort()}`
  const breaking = await serve((request, response) => {
    if (request.url?.startsWith('/api/whoami-v2')) passOn(mirror.url, request, response)
    else response.destroy()
  })
  const cutting = await serve((request, response) => {
    if (request.headers.range === undefined) passOn(mirror.url, request, response)
    else response.writeHead(206, { 'content-length': 1000 }).write('a', () => response.destroy())
  })
  const leading = await serve((request, response) => {
    if (request.headers.range === undefined) passOn(mirror.url, request, response)
    else response.writeHead(302, { location: `${down}/w.bin` }).end()
  })
  const long = await serve((request, response) => {
    if (/^\/api\/models\/[^?]*\/tree/.test(request.url ?? '')) response.writeHead(501).end()
    else if (request.url?.startsWith('/api/models/acme') !== true) passOn(mirror.url, request, response)
    else {
      const siblings = [
        { rfilename: 'w.bin' },
        ...Array.from({ length: 200_000 }, () => ({ rfilename: 'a/long/name.bin' })),
      ]
      response
        .writeHead(200, { 'content-type': 'application/json' })
        .end(JSON.stringify({ id: 'acme/secret', siblings }))
    }
  })
  const alice: Row['env'] = { HF_TOKEN: TOKENS.alice }
  const bob = { HF_TOKEN: TOKENS.bob }
  const trusted = { ...alice, SSL_CERT_FILE: ca }
  const proxy = { ...alice, http_proxy: down }
  const row = (name: string, url: string, first: string, env = alice, repo = 'acme/secret'): Row => {
    return { name, url, first, env, args: ['--repo', repo] }
  }
  const rows = [
    row('the mirror', mirror.url, ''),
    row('the mirror, a public repo, no token', mirror.url, '', {}, 'acme/open'),
    row('a Hub whose Xet host is not reachable', hub.url, 'xet'),
    row('nginx, drops Authorization', await nginx('pass-through'), 'token-forwarded'),
    row('nginx, naive cache', await nginx('naive-cache'), 'token-forwarded'),
    row('a wrong prefix', `${mirror.url}/hub-mirror`, 'endpoint'),
    row('TLS with a private CA', await front(GOOD_CERTIFICATE), 'tls'),
    row('… trusted, before a mirror without a public URL', await front(GOOD_CERTIFICATE), 'links', trusted),
    row('an expired certificate', await front(EXPIRED_CERTIFICATE), 'tls', trusted),
    row('a certificate for another name', await front(OTHER_CERTIFICATE), 'tls', trusted),
    row('https to a plain port', mirror.url.replace('http:', 'https:'), 'tls'),
    row('a captive portal', portal, 'endpoint'),
    row('a captive portal that redirects', login, 'endpoint'),
    row('a server that breaks off after its first answer', breaking, 'connection'),
    row('… and cuts answers to ranges', cutting, 'connection'),
    row('a mirror whose bytes lie on a host that is down', leading, 'range'),
    row('a repo with a very long answer', long, ''),
    row('a mirror that is down', down, 'tcp'),
    row('a SOCKS proxy', mirror.url, '', { ...alice, all_proxy: 'socks5://127.0.0.1:9' }),
    row('… and NO_PROXY', mirror.url, '', { ...alice, all_proxy: 'socks5://127.0.0.1:9', no_proxy: '*' }),
    row('a name that does not exist', 'http://mirror.invalid', 'dns'),
    row('a proxy that is down', mirror.url, 'proxy', proxy),
    row('… and NO_PROXY', mirror.url, '', { ...proxy, no_proxy: '127.0.0.1' }),
    row('no token', mirror.url, 'token-present', {}),
    row('a wrong token', mirror.url, 'token-valid', { HF_TOKEN: TOKENS.invalid }),
    row('a token in quotes', mirror.url, 'token-form', { HF_TOKEN: `"${TOKENS.alice}"` }),
    row('a token without the right', mirror.url, 'repo-access', bob),
    row('a gate that is not accepted', mirror.url, 'gate', bob, 'acme/gated'),
    row('offline at the client', mirror.url, 'environment', { ...alice, HF_HUB_OFFLINE: '1' }),
  ]
  if (isThere(OLAH)) return [...rows, row('olah', await olah(hub), 'xet')]
  console.warn('SKIPPED olah: not found')
  return rows
}

/** What both forms must agree in. The installed clients differ, and so do times, addresses and the texts of the systems. */
function comparable({ id, status, message, cure }: Check): string {
  if (id === 'clients') return id
  const isOfSystem = ['tcp', 'dns', 'tls', 'disk', 'clock'].includes(id)
  return JSON.stringify({ id, status, message: isOfSystem ? '' : message.replace(/ \(.*\)/, ''), cure })
}

function resultOf({ status, stdout, stderr }: Awaited<ReturnType<typeof run>>): Result {
  const output = stdout + stderr
  try {
    const { ok, checks } = JSON.parse(stdout) as { ok: boolean; checks: Check[] }
    return { status, ok, checks, first: checks.find((check) => check.status === 'fail')?.id ?? '', output }
  } catch (error) {
    throw new Error(`the doctor printed no JSON: ${output}`, { cause: error })
  }
}

async function runPython(
  source: string,
  args: readonly string[],
  env: Record<string, string>,
): Promise<Result> {
  const child = spawn('python3', ['-', ...args], { env: { PATH: process.env['PATH'], ...env } })
  let [stdout, stderr] = ['', '']
  child.stdout.on('data', (part: Buffer) => {
    stdout += part.toString()
  })
  child.stderr.on('data', (part: Buffer) => {
    stderr += part.toString()
  })
  child.stdin.end(source)
  const [status] = (await once(child, 'close')) as [number | null]
  return resultOf({ status, stdout, stderr })
}

/** Sends the same request to another server, and its answer back. */
function passOn(url: string, request: IncomingMessage, response: ServerResponse): void {
  const { method, headers } = request
  const outgoing = requestHttp(new URL(request.url ?? '/', url), { method, headers }, (answer) => {
    response.writeHead(answer.statusCode ?? 0, answer.headers)
    answer.pipe(response)
  })
  outgoing.on('error', () => response.destroy())
  outgoing.end()
}

async function serve(listener: RequestListener): Promise<string> {
  const started = createServer(listener).listen(0, '127.0.0.1')
  await once(started, 'listening')
  onTestFinished(() => {
    started.close()
    started.closeAllConnections()
  })
  return `http://127.0.0.1:${(started.address() as AddressInfo).port}`
}

async function olah(hub: { readonly url: string; readonly cdnUrl: string }): Promise<string> {
  const started = await spawnServer((port, directory) => ({
    command: OLAH,
    args: `--host 127.0.0.1 --port ${port} --hf-scheme http --hf-netloc ${new URL(hub.url).host}
      --hf-lfs-netloc ${new URL(hub.cdnUrl).host} --mirror-netloc 127.0.0.1:${port}
      --mirror-lfs-netloc 127.0.0.1:${port} --repos-path ${join(directory, 'repos')}
      --log-path ${join(directory, 'logs')}`.split(/\s+/),
    env: {},
  }))
  onTestFinished(() => started.stop())
  await untilUp(started)
  return started.url
}
