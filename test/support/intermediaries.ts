// What answers in the place of the Hub, and what the mirror must make of it.

import { describe, expect, it } from 'vitest'
import type { Fault } from '../hub-simulator/faults.ts'
import { SECRET_CONFIG, TOKENS } from './mirror-world.ts'
import { openScene, type Scene } from './scene.ts'

export const CONFIG = '/acme/open/resolve/main/config.json'
export const EMPTY = '/acme/open/resolve/main/empty.txt'
export const LARGE = '/acme/open/resolve/main/w.bin'
export const INFO = '/api/models/acme/open'
const TREE = `${INFO}/tree/main?recursive=true`
const STORED = [CONFIG, EMPTY, LARGE, INFO, TREE]
export const SECRET = '/acme/secret/resolve/main/config.json'
export const ALWAYS = { times: Number.POSITIVE_INFINITY }
export const HTML = { 'Content-Type': 'text/html' }

/** Stores what `STORED` names, and lets all that the mirror believes grow old. */
export async function warm(scene: Scene): Promise<void> {
  for (const target of STORED) expect((await scene.ask(target)).status).toBe(200)
  await scene.settled()
  scene.clock.advance(120_000)
}

/** Adds a fault of the Hub that lasts until it is removed. */
export const onHub = (scene: Scene, fault: Omit<Fault, 'where'>) =>
  scene.hub.faults.add({ where: 'hub', ...ALWAYS, ...fault })

/** What answers, how it does so, and the code of the error that names it. */
type Page = readonly [string, Omit<Fault, 'where'>, string]

/** One of each kind. */
export const PAGES: readonly Page[] = [
  ['a filter', { edge: { code: 403, headers: HTML, body: '<html>not allowed' } }, 'OriginIntercepted'],
  ['a login page', { captivePortal: true }, 'OriginIntercepted'],
  ['a CDN with trouble of its own', { edge: { code: 520, headers: HTML } }, 'HubInTrouble'],
  ['maintenance', { edge: { code: 503, headers: { 'Retry-After': '40', ...HTML } } }, 'HubUnavailable'],
]

/** More of the same kinds. */
export const FURTHER_PAGES: readonly Page[] = [
  [
    'a proxy that wants a password',
    { edge: { code: 407, headers: { 'Proxy-Authenticate': 'Basic realm="p"' } } },
    'OriginIntercepted',
  ],
  [
    'a gateway that wants a login',
    { edge: { code: 401, headers: { 'WWW-Authenticate': 'Basic realm="gateway"', ...HTML } } },
    'OriginIntercepted',
  ],
  [
    'an ingress without a rule',
    { edge: { code: 404, headers: HTML, body: '<html>404' } },
    'OriginIntercepted',
  ],
  ['a way to a login page', { redirectTo: 'http://127.0.0.3:1/login' }, 'RedirectRefused'],
  [
    'a store of objects',
    {
      edge: {
        code: 403,
        headers: { 'Content-Type': 'application/xml' },
        body: '<Error><Code>AccessDenied</Code></Error>',
      },
    },
    'OriginIntercepted',
  ],
  ['a gateway of an API', { edge: { code: 403, body: '{"message":"Forbidden"}' } }, 'OriginIntercepted'],
  ['a law', { edge: { code: 451, headers: HTML } }, 'OriginIntercepted'],
  ['a network that wants a login', { edge: { code: 511, headers: HTML } }, 'OriginIntercepted'],
  ['a CDN that waits in vain', { edge: { code: 522, headers: HTML } }, 'HubInTrouble'],
  ['a load balancer', { edge: { code: 504, headers: HTML } }, 'HubInTrouble'],
]

/** Declares the tests of pages that stand in the place of the Hub. */
export function describePages(pages: readonly Page[]): void {
  describe.each(pages)('%s in the place of the Hub', (_, fault, code) => {
    it('does not end the service of stored public content, and is named where content cannot be served', async () => {
      // Within the grace, what is stored of restricted repos is served while the Hub is in trouble: see stale-grace.test.ts.
      const scene = await openScene({ config: { cachePrivate: true, staleGraceMs: 0 } })
      expect((await scene.ask(SECRET, { token: TOKENS.alice })).body.toString()).toBe(SECRET_CONFIG)
      await warm(scene)
      const handle = onHub(scene, fault)
      for (const token of [undefined, TOKENS.alice, TOKENS.bob]) {
        for (const target of STORED) {
          for (const method of ['GET', 'HEAD']) {
            if (method === 'HEAD' && target.startsWith('/api/')) continue
            const got = await scene.ask(target, { method, token })
            expect([target, got.status, got.headers['x-cache']]).toEqual([target, 200, 'STALE'])
          }
        }
      }
      const file = await scene.ask(LARGE)
      expect(file.body.equals(scene.bytes('acme/open', 'w.bin'))).toBe(true)
      // Nothing that is not public is served, to any caller.
      for (const token of [undefined, TOKENS.alice, TOKENS.bob]) {
        for (const target of [
          SECRET,
          '/acme/open/resolve/main/README.md',
          '/api/models/acme/secret',
          '/api/whoami-v2',
        ]) {
          const got = await scene.ask(target, { token })
          expect([target, got.status >= 500, got.headers['x-error-code']]).toEqual([target, true, code])
          expect(got.headers['x-error-message']).toMatch(/\w+ .*\./)
          expect(got.headers['x-error-message']).not.toMatch(/trust/)
          expect(JSON.parse(got.body.toString())).toEqual({ error: got.headers['x-error-message'] })
          if (code === 'HubUnavailable') expect([got.status, got.headers['retry-after']]).toEqual([503, '40'])
        }
      }
      handle.remove()
      // No belief has ended: one answer of the Hub, and all is as before.
      for (const target of STORED) {
        const got = await scene.ask(target)
        expect(['REVALIDATED', 'HIT']).toContain(got.headers['x-cache'])
      }
      expect((await scene.ask(SECRET, { token: TOKENS.alice })).body.toString()).toBe(SECRET_CONFIG)
    })

    it('ends no verdict by an answer that is passed through', async () => {
      const scene = await openScene()
      await warm(scene)
      const handle = onHub(scene, { match: /info\/refs|\/raw\/|discussions/, ...fault })
      for (const target of [
        '/acme/open.git/info/refs?service=git-upload-pack',
        '/acme/open/raw/main/config.json',
        '/acme/open/discussions',
      ]) {
        expect((await scene.ask(target)).status).toBeGreaterThanOrEqual(200)
      }
      handle.remove()
      await scene.hub.stop()
      for (const target of STORED) expect((await scene.ask(target)).status).toBe(200)
    })
  })
}

/** A fault of a gateway that drops fields of answers about files. */
export const drop = (name: string | string[], method?: string): Omit<Fault, 'where'> => ({
  match: /resolve/,
  dropHeader: name,
  ...(method === undefined ? {} : { method }),
})

/** What a gateway drops or changes, and how. */
type Dropped = readonly [string, readonly Omit<Fault, 'where'>[]]

/** A field of each kind, and several at once. */
export const DROPPED: readonly Dropped[] = [
  ['every length, and does no ranges', [{ ...drop('content-length'), ignoreRange: true }]],
  ['the commit', [drop('x-repo-commit')]],
  ['the ETag', [drop('etag')]],
  [
    'all it does not know',
    [drop(['x-linked-size', 'x-linked-etag', 'x-repo-commit', 'accept-ranges', 'x-powered-by'])],
  ],
  ['the strength of an ETag', [{ match: /resolve/, weakEtag: true }]],
]

/** More fields, and more of them at once. */
export const FURTHER_DROPPED: readonly Dropped[] = [
  ['the length of a HEAD', [drop('content-length', 'HEAD')]],
  ['every length', [drop('content-length')]],
  ['the commit of the redirect', [{ ...drop('x-repo-commit'), match: /\/resolve\// }]],
  ['the linked ETag', [drop('x-linked-etag')]],
  ['the linked size', [drop('x-linked-size')]],
  ['all that is linked', [drop(['x-linked-size', 'x-linked-etag'])]],
  ['all that is linked, and the commit', [drop(['x-linked-size', 'x-linked-etag', 'x-repo-commit'])]],
  ['ETag, commit and length', [drop(['etag', 'x-repo-commit', 'content-length'])]],
  ['Accept-Ranges', [drop('accept-ranges')]],
  ['Content-Range', [drop('content-range')]],
  ['what an ETag was, by its own compression', [{ match: /resolve/, etagSuffix: '-gzip' }]],
]

/** Declares the tests of a gateway that drops fields. */
export function describeDropped(dropped: readonly Dropped[]): void {
  it.each(dropped)(
    'a gateway before the Hub that drops %s does not keep any file from being the right one',
    async (_, faults) => {
      const scene = await openScene()
      for (const fault of faults) {
        onHub(scene, fault)
        if ('dropHeader' in fault && fault.dropHeader === 'content-range')
          scene.hub.faults.add({ where: 'cdn', ...ALWAYS, dropHeader: 'content-range' })
      }
      const commit = scene.commit('acme/open')
      const digests = scene.world.model('acme/open').resolve('main')?.files
      for (const path of ['config.json', 'empty.txt', 'w.bin', 'nested/deeper/vocab.txt']) {
        const right = scene.bytes('acme/open', path)
        const file = digests?.get(path)
        const etag = `"${file?.lfs?.sha256 ?? file?.oid}"`
        for (const revision of ['main', commit]) {
          const target = `/acme/open/resolve/${revision}/${path}`
          const head = await scene.ask(target, { method: 'HEAD' })
          const { headers } = head
          expect([
            path,
            head.status,
            headers['x-repo-commit'],
            headers['etag'],
            headers['content-length'],
            headers['x-linked-size'],
          ]).toEqual([path, 200, commit, etag, String(right.length), String(right.length)])
          const got = await scene.ask(target)
          expect([path, got.status, got.whole, got.body.equals(right)]).toEqual([path, 200, true, true])
          if (right.length < 10) continue
          const part = await scene.ask(target, { headers: { range: 'bytes=2-5' } })
          expect([part.status, part.body.equals(right.subarray(2, 6))]).toEqual([206, true])
        }
      }
      // What was verified is stored, and asked for no more.
      await scene.settled()
      scene.hub.ledger.clear()
      for (const path of ['config.json', 'w.bin'])
        expect((await scene.ask(`/acme/open/resolve/${commit}/${path}`)).headers['x-cache']).toBe('HIT')
      expect(scene.hub.ledger.bodyRequests()).toEqual([])
    },
  )
}
