// Servers and clients that are wrong in one way each: the usual causes of a failure.

import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { spawnServer, untilUp } from '../../../bench/servers.ts'
import { startNginx } from '../../../compare/nginx.ts'
import {
  EXPIRED_CERTIFICATE,
  GOOD_CERTIFICATE,
  OTHER_CERTIFICATE,
  TEST_CA,
} from '../../../support/certificates.ts'
import { freePort } from '../../../support/free-port.ts'
import { TOKENS } from '../../../support/mirror-world.ts'
import type { Scene } from '../../../support/scene.ts'
import { startTlsFront } from '../../../support/tls-front.ts'
import { commandOf, isThere } from '../tools.ts'
import type { Row } from './play.ts'
import { passOn, serve } from './servers.ts'

const OLAH = commandOf('olah', 'olah-cli')
const LOGIN = 'http://login.example/'
const PORTAL = '<!doctype html><title>Welcome to the guest network</title>'

/** Every server that a row is about, started. They stop with the test. */
export async function causeRows({ hub, mirror }: Scene, folder: string): Promise<readonly Row[]> {
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
