// Cookies stop at the mirror in both directions, on every route: those of a browser do not reach the Hub or a storage host,
// and those of the Hub do not reach a client, wherever in an answer they stand.

import { createHash } from 'node:crypto'
import { createServer, type Socket } from 'node:net'
import { expect, it, onTestFinished } from 'vitest'
import type { Question } from '../support/ask.ts'
import { TOKENS } from '../support/mirror-world.ts'
import { rawHttp } from '../support/raw-http.ts'
import { openScene } from '../support/scene.ts'

const COOKIES = { cookie: 'token=canary', cookie2: 'canary' }
const ALWAYS = { times: 10_000 }
const JSON_TYPE = { 'content-type': 'application/json' }

const QUESTIONS: readonly (readonly [string, Question?])[] = [
  ['/'],
  ['/acme/open'],
  ['/login'],
  ['/acme/open/resolve/main/config.json'],
  ['/acme/open/resolve/main/w.bin'],
  ['/acme/open/resolve/main/w.bin', { headers: { range: 'bytes=5-9' } }],
  ['/acme/open/resolve/main/none.txt'],
  ['/acme/secret/resolve/main/config.json', { token: TOKENS.alice }],
  ['/acme/secret/resolve/main/config.json'],
  ['/acme/old/resolve/main/config.json'],
  ['/acme/open/raw/main/config.json'],
  ['/acme/old/raw/main/config.json'],
  ['/acme/open/raw/main/none.txt'],
  ['/api/models/acme/open'],
  ['/api/models/acme/open/tree/main'],
  ['/api/models/acme/open/tree/main/none'],
  ['/api/models/acme/secret'],
  ['/api/models/acme/open/paths-info/main', { method: 'POST', headers: JSON_TYPE, body: '{"paths":[]}' }],
  ['/api/models?limit=1'],
  ['/api/whoami-v2', { token: TOKENS.alice }],
  ['/api/whoami-v2'],
  ['/api/datasets/acme/data/parquet'],
  ['/api/models/acme/open/auth-check'],
  ['/api/unknown'],
  ['/api/telemetry/x', { method: 'HEAD' }],
  ['/api/validate-yaml', { method: 'POST', headers: JSON_TYPE, body: '{}' }],
  ['/api/repos/create', { method: 'POST', token: TOKENS.alice, headers: JSON_TYPE, body: '{"name":"new"}' }],
  ['/acme/open.git/info/refs?service=git-upload-pack'],
  ['/acme/open.git/git-upload-pack', { method: 'POST', body: '0000' }],
  ['/acme/gated/ask-access', { method: 'POST', token: TOKENS.bob, body: 'a=b' }],
  ['/v2/acme/open/manifests/latest'],
  ['/acme/open/resolve/main/config.json', { method: 'OPTIONS' }],
]

it('no cookie crosses the mirror on any route, cold or warm', async () => {
  const scene = await openScene()
  const addHeaders = {
    'Set-Cookie': ['token=canary; Path=/', 'b=canary'],
    'Set-Cookie2': 'canary',
    'Clear-Site-Data': '"cookies"',
  }
  for (const where of ['hub', 'cdn'] as const) scene.hub.faults.add({ where, addHeaders, ...ALWAYS })
  for (let round = 0; round < 2; round += 1) {
    for (const [target, question = {}] of QUESTIONS) {
      const got = await scene.ask(target, { ...question, headers: { ...question.headers, ...COOKIES } })
      expect(got.status).toBeGreaterThan(0)
      for (const name of ['set-cookie', 'set-cookie2', 'clear-site-data'])
        expect([target, name, got.headers[name]]).toEqual([target, name, undefined])
      expect([target, JSON.stringify(got.headers).includes('canary')]).toEqual([target, false])
    }
    await scene.settled()
  }
  // A Git LFS transfer by sealed links: to the storage host and back.
  const lfs = { 'content-type': 'application/vnd.git-lfs+json', accept: 'application/vnd.git-lfs+json' }
  const oid = scene.world.model('acme/open').resolve('main')?.files.get('w.bin')?.lfs?.sha256
  for (const [operation, objects] of [
    ['download', [{ oid, size: 3_000_000 }]],
    ['upload', [{ oid: createHash('sha256').update('hello').digest('hex'), size: 5 }]],
  ] as const) {
    scene.world.model('alice/own').commit({ 'x.txt': 'x' })
    const repo = operation === 'upload' ? 'alice/own' : 'acme/open'
    const batch = await scene.ask(`/${repo}.git/info/lfs/objects/batch`, {
      method: 'POST',
      token: TOKENS.alice,
      headers: { ...lfs, ...COOKIES },
      body: JSON.stringify({ operation, transfers: ['basic'], objects }),
    })
    expect([batch.status, batch.headers['set-cookie']]).toEqual([200, undefined])
    const answer = JSON.parse(batch.body.toString()) as {
      objects: { actions?: Record<string, { href: string } | undefined> }[]
    }
    const { href = '' } = answer.objects[0]?.actions?.[operation] ?? {}
    const { pathname, search, host } = new URL(href)
    expect(host).toBe(new URL(scene.mirror.url).host)
    const moved = await scene.ask(pathname + search, {
      ...(operation === 'upload' ? { method: 'PUT', body: 'hello' } : {}),
      headers: COOKIES,
    })
    expect([operation, moved.status, moved.headers['set-cookie']]).toEqual([operation, 200, undefined])
  }
  for (const { url, headers } of scene.hub.ledger.requests())
    expect([url, headers.cookie, headers['cookie2']]).toEqual([url, undefined, undefined])
  await scene.mirror.close({ keepDir: true })
  expect(scene.mirror.logText()).not.toContain('canary')
})

it('no cookie in an interim answer or in trailers crosses the mirror', async () => {
  const asked: string[] = []
  const sockets = new Set<Socket>()
  const origin = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    let text = ''
    socket.on('data', (bytes) => {
      text += bytes.toString('latin1')
      for (let end = text.indexOf('\r\n\r\n'); end >= 0; end = text.indexOf('\r\n\r\n')) {
        const head = text.slice(0, end)
        text = text.slice(end + 4)
        asked.push(head)
        const isHead = head.startsWith('HEAD ')
        const body = JSON.stringify({ id: 'acme/open', private: true, gated: false })
        socket.write(
          'HTTP/1.1 103 Early Hints\r\nSet-Cookie: early=canary\r\n\r\n' +
            'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n' +
            'Trailer: Set-Cookie\r\nSet-Cookie: main=canary\r\n\r\n' +
            (isHead ? '' : `${body.length.toString(16)}\r\n${body}\r\n0\r\nSet-Cookie: late=canary\r\n\r\n`),
        )
      }
    })
  })
  await new Promise<void>((resolve) => origin.listen(0, '127.0.0.1', resolve))
  onTestFinished(async () => {
    for (const socket of sockets) socket.destroy()
    await new Promise((resolve) => origin.close(resolve))
  })
  const { port } = origin.address() as { port: number }
  const scene = await openScene({ config: { origin: new URL(`http://127.0.0.1:${port}`) } })
  for (const target of [
    '/api/models/acme/open',
    '/api/unknown',
    '/acme/open/raw/main/config.json',
    '/acme/open/resolve/main/config.json',
    '/acme/open.git/info/refs?service=git-upload-pack',
    '/v2/acme/open/manifests/latest',
  ]) {
    for (const method of ['GET', 'HEAD']) {
      const request = `${method} ${target} HTTP/1.1\r\nHost: a\r\nCookie: token=canary\r\nTE: trailers\r\nConnection: close\r\n\r\n`
      const got = await rawHttp(scene.mirror.url, request)
      expect(got.status).toBeGreaterThanOrEqual(200)
      expect([method, target, got.text.includes('canary')]).toEqual([method, target, false])
    }
  }
  expect(asked.length).toBeGreaterThan(6)
  expect(asked.filter((head) => head.includes('canary'))).toEqual([])
})
