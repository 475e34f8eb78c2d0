// Answers that come late, and in what order they may be believed. The Hub is a stub whose answers the test hands out.

import { Readable } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { parseHubUrl } from '../../../src/hub/route.ts'
import { Access } from '../../../src/mirror/access/access.ts'
import { Refusals } from '../../../src/mirror/access/refusals.ts'
import type { Ctx } from '../../../src/mirror/context.ts'
import { Implied } from '../../../src/mirror/documents/implied.ts'
import { CommitListings } from '../../../src/mirror/files/commit-listings.ts'
import { Grants } from '../../../src/mirror/files/grants.ts'
import { ListedFiles } from '../../../src/mirror/files/listed-files.ts'
import { Resolver } from '../../../src/mirror/files/resolve.ts'
import { StoredFiles } from '../../../src/mirror/files/stored-files.ts'
import { Invalidations } from '../../../src/mirror/invalidations.ts'
import { Metadata } from '../../../src/mirror/metadata/metadata.ts'
import type { OriginAnswer, OriginClient, OriginRequest } from '../../../src/origin/client.ts'
import { createSignedUrls } from '../../../src/origin/files/signed-urls.ts'
import type { Facts } from '../../../src/store/store.ts'
import { silentObserver } from '../../../src/telemetry/observer.ts'
import { manualClock } from '../../support/clock.ts'
import { eventually } from '../../support/eventually.ts'
import { NOT_NAMED } from '../../support/not-named.ts'

const SETTINGS = { refTtlMs: 10_000, accessTtlMs: 60_000, staleGraceMs: 0 }

const COMMIT = 'c'.repeat(40)
const GIT_SHA = 'e'.repeat(40)

function memoryFacts(): Facts & { readonly written: Map<string, unknown> } {
  const written = new Map<string, unknown>()
  return {
    written,
    peek: (kind, key) => written.get(`${kind} ${key}`),
    read: async (kind, key) => written.get(`${kind} ${key}`),
    write: async (kind, key, value) => void written.set(`${kind} ${key}`, value),
    remove: async (kind, key) => void written.delete(`${kind} ${key}`),
    list: () => Readable.from([]),
    keys: () => Readable.from([]),
  }
}

/** `info` is what the Hub says of the repo itself; it says so at once. */
function setUp(info: Readonly<Record<string, unknown>> = { private: false, gated: false, disabled: false }) {
  const clock = manualClock()
  const asked: {
    request: OriginRequest
    answer: (status: number, headers: Record<string, string>) => void
  }[] = []
  const client: OriginClient = {
    policy: { base: new URL('http://hub.invalid'), allowedHosts: [] },
    url: (target) => new URL(target, 'http://hub.invalid'),
    isRecentlyUnreachable: () => false,
    unreachableReason: () => undefined,
    admit: async () => undefined,
    hasSpareQuota: () => true,
    reservedQuotaMs: () => 0,
    observeAnswer: (_asked, _status, headers) => headers,
    send: (request) =>
      new Promise((resolve) => {
        if (request.url.pathname.startsWith('/api/')) {
          const body = Readable.from([Buffer.from(JSON.stringify(info))])
          resolve({ status: 200, headers: {}, body } as unknown as OriginAnswer)
          return
        }
        const answer = (status: number, headers: Record<string, string>): void => {
          const body = Object.assign(Readable.from([]), { dump: async () => undefined })
          resolve({ status, headers, body } as unknown as OriginAnswer)
        }
        asked.push({ request, answer })
      }),
    // Nothing here opens a body, or passes anything on.
    dispatcher: undefined as unknown as OriginClient['dispatcher'],
    shares: undefined as unknown as OriginClient['shares'],
    buffers: undefined as unknown as OriginClient['buffers'],
    timeoutMs: 20_000,
    isWanted: () => false,
    close: async () => undefined,
  }
  const facts = memoryFacts()
  const invalidations = new Invalidations()
  const metadata = new Metadata({
    invalidations,
    facts,
    origin: 'http://hub.invalid',
    monotonic: clock.now,
    onWriteError: fail,
  })
  const access = new Access({
    metadata,
    restricted: NOT_NAMED,
    invalidations,
    settings: SETTINGS,
    monotonic: clock.now,
  })
  const listings = new CommitListings({
    client,
    observer: silentObserver,
    monotonic: clock.now,
    invalidations,
    readPage: async () => undefined,
  })
  const urls = createSignedUrls({ monotonic: clock.now, now: clock.now })
  const parts = { client, metadata, access, urls, settings: SETTINGS, monotonic: clock.now }
  const implied = new Implied({
    metadata,
    originBase: client.policy.base,
    cloned: { refs: async () => undefined, items: async () => undefined, commits: async () => undefined },
    invalidations,
  })
  const contents = { isStored: async () => false }
  const served = { add() {}, has: async () => false, withoutHub: async () => undefined }
  const grants = new Grants({ ...parts, contents, invalidations, cachePrivate: false })
  const observer = silentObserver
  const resolver = new Resolver({
    ...parts,
    grants,
    listedFiles: new ListedFiles({ ...parts, listings, grants, served, contents, observer }),
    invalidations,
    refusals: new Refusals({ settings: SETTINGS, monotonic: clock.now }),
    storedFiles: new StoredFiles({ metadata, implied, unaskedFiles: { find: async () => undefined } }),
    served,
    observer,
    offline: false,
    asksLicence: () => false,
  })
  return { clock, asked, facts, access, resolver }
}

function fail(error: unknown): never {
  throw error
}

function anonymous(): Ctx {
  return {
    id: 'r',
    authorization: undefined,
    fingerprint: 'anonymous',
    caller: { kind: 'anonymous', address: '127.0.0.1' },
    lent: undefined,
    signal: new AbortController().signal,
    mirrorBase: 'http://mirror.invalid',
    forward: {},
    originRequests: { count: 0 },
    access: {},
  }
}

function fileRoute(path: string) {
  const route = parseHubUrl(`/acme/open/resolve/main/${path}`, '/')
  if (route.kind !== 'file') throw new Error('not a file')
  return route
}

const META = { 'x-repo-commit': COMMIT, etag: `"${GIT_SHA}"`, 'content-length': '5' }

describe('a late answer', () => {
  it('has the age of its request for every caller that joined it: a refusal in between stands', async () => {
    const { clock, asked, access, resolver } = setUp()
    const route = fileRoute('config.json')
    const first = resolver.resolve(anonymous(), route, 'GET')
    await eventually(
      () => asked.length,
      (length) => length === 1,
    )
    clock.advance(10)
    await access.withdrawn(route.repo, clock.now())
    clock.advance(10)
    const joined = resolver.resolve(anonymous(), route, 'GET')
    await new Promise(setImmediate)
    asked[0]?.answer(200, META)
    for (const resolved of [await first, await joined]) {
      if (resolved.kind !== 'file') throw new Error('refused')
      expect(await resolved.isPublic, 'its bytes may be stored').toBe(false)
    }
    expect(asked.length).toBe(1)
    expect(access.verdict(route.repo)).toBe('restricted')
  })

  it('leaves nothing of the file in the store when the repo was withdrawn meanwhile', async () => {
    const { clock, asked, facts, access, resolver } = setUp()
    const route = fileRoute('config.json')
    const first = resolver.resolve(anonymous(), route, 'HEAD')
    await eventually(
      () => asked.length,
      (length) => length === 1,
    )
    clock.advance(10)
    await access.withdrawn(route.repo, clock.now())
    asked[0]?.answer(200, META)
    const resolved = await first
    if (resolved.kind === 'file') await resolved.isPublic
    await new Promise(setImmediate)
    expect([...facts.written.keys()]).toEqual([])
  })
})

it('a GET that follows at once waits for the anonymous request beside its HEAD', async () => {
  const { asked, resolver } = setUp()
  const member = { ...anonymous(), authorization: 'Bearer x', fingerprint: 'member' }
  const route = fileRoute('config.json')
  const head = resolver.resolve(member, route, 'HEAD')
  await eventually(
    () => asked.length,
    (length) => length === 2,
  )
  const own = asked.find(({ request }) => request.requester.authorization !== undefined)
  own?.answer(200, META)
  expect((await head).kind).toBe('file')
  const got = await resolver.resolve(member, route, 'GET')
  if (got.kind !== 'file') throw new Error('refused')
  asked.find((question) => question !== own)?.answer(200, META)
  expect(await got.isPublic, 'its bytes may be stored').toBe(true)
  expect(asked.length).toBe(2)
})

it.each([
  ['gated', { private: false, gated: 'auto', disabled: false }],
  ['private', { private: true, gated: false, disabled: false }],
  ['disabled', { private: false, gated: false, disabled: true }],
  ['silent about its gate being open', { private: false, gated: null }],
  ['silent', {}],
])('a file shown to an anonymous caller does not make a repo public that is %s', async (_what, info) => {
  const { asked, facts, access, resolver } = setUp(info)
  const route = fileRoute('README.md')
  const resolving = resolver.resolve(anonymous(), route, 'GET')
  await eventually(
    () => asked.length,
    (length) => length === 1,
  )
  asked[0]?.answer(200, META)
  const resolved = await resolving
  if (resolved.kind !== 'file') throw new Error('refused')
  expect(await resolved.isPublic, 'its bytes may be stored').toBe(false)
  expect(access.verdict(route.repo)).not.toBe('public')
  expect([...facts.written.keys()]).toEqual([])
})

describe('an absent file, reported to an anonymous request', () => {
  const ABSENT = {
    'x-repo-commit': COMMIT,
    'x-error-code': 'EntryNotFound',
    'x-error-message': 'Entry not found',
  }

  it('is not stored while the repo is not proved public: a gated repo reports it too', async () => {
    const { asked, facts, resolver } = setUp({ private: false, gated: 'manual', disabled: false })
    const resolving = resolver.resolve(anonymous(), fileRoute('no.txt'), 'GET')
    await eventually(
      () => asked.length,
      (length) => length === 1,
    )
    asked[0]?.answer(404, ABSENT)
    expect((await resolving).kind).toBe('refusal')
    await new Promise(setImmediate)
    expect([...facts.written.keys()]).toEqual([])
  })

  it('is stored once the repo is known to be public', async () => {
    const { clock, asked, facts, access, resolver } = setUp()
    const route = fileRoute('no.txt')
    await access.proved(route.repo, clock.now())
    const resolving = resolver.resolve(anonymous(), route, 'GET')
    await eventually(
      () => asked.length,
      (length) => length === 1,
    )
    asked[0]?.answer(404, ABSENT)
    await resolving
    await eventually(
      () => [...facts.written.values()],
      (values) => values.some((value) => JSON.stringify(value).includes('absent')),
    )
  })
})
