// Caches in memory stay within their bounds, however many long keys callers choose. The caches themselves are in
// test/unit/memory.test.ts.

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, it, onTestFinished } from 'vitest'
import { ResponseCache } from '../../../src/fast-path/response-cache.ts'
import type { CommitHash, Repo, RepoId } from '../../../src/hub/names.ts'
import { parseHubUrl } from '../../../src/hub/route.ts'
import { Access } from '../../../src/mirror/access/access.ts'
import { Refusals } from '../../../src/mirror/access/refusals.ts'
import { Invalidations } from '../../../src/mirror/invalidations.ts'
import { Metadata } from '../../../src/mirror/metadata/metadata.ts'
import { createSignedUrls } from '../../../src/origin/files/signed-urls.ts'
import { createRouteParser } from '../../../src/server/hub-route.ts'
import type { Facts } from '../../../src/store/store.ts'
import { NOT_NAMED } from '../../support/not-named.ts'
import { openFacts } from '../../support/open-facts.ts'
import { scratchLayout } from '../../unit/store/scratch.ts'

describe('keys that callers choose', () => {
  const ROUNDS = 12_000
  const repo: Repo = { type: 'model', id: 'o/n' as RepoId }
  const commit = 'a'.repeat(40) as CommitHash
  const text = (round: number) => `${String(round).padStart(8, '0')}${'x'.repeat(8_000)}`

  /** By how much the heap has grown after `work`, in megabytes. */
  async function growth(work: () => Promise<void> | void): Promise<number> {
    setFlagsFromString('--expose-gc')
    const collect = runInNewContext('gc') as () => void
    const used = () => {
      collect()
      return process.memoryUsage().heapUsed + process.memoryUsage().arrayBuffers
    }
    const before = used()
    await work()
    return (used() - before) / 1e6
  }

  // ROUNDS names of 8,000 characters are 96 MB.
  it('do not fill the cache of facts', async () => {
    const facts = await openFacts(await scratchLayout(), { memoryBytes: 4_000_000 })
    onTestFinished(() => facts.close())
    // Writes do not matter here, and a disk would make the test slow.
    const write = () => Promise.resolve()
    const invalidations = new Invalidations()
    const bound: Omit<Facts, 'write'> = {
      read: (kind, key) => facts.read(kind, key),
      peek: (kind, key) => facts.peek(kind, key),
      remove: (kind, key) => facts.remove(kind, key),
      list: (kind) => facts.list(kind),
      keys: (kind, prefix) => facts.keys(kind, prefix),
    }
    const options = { facts: { ...bound, write }, origin: 'http://hub', monotonic: () => 1, invalidations }
    const metadata = new Metadata({ ...options, onWriteError: () => undefined })
    const body = { body: Buffer.from('{}'), contentType: '', link: undefined, headers: {} }
    const grown = await growth(async () => {
      for (let round = 0; round < ROUNDS; round += 1) {
        metadata.documents.set(`GET /api/models/o/n?blobs=${text(round)}`, body, round)
        metadata.refs.set(repo, text(round), commit, { askedAt: round, store: false })
        if (round % 20 === 0) await metadata.documents.get(text(round))
      }
    })
    expect(metadata.documents.askedAt(`GET /api/models/o/n?blobs=${text(ROUNDS - 1)}`)).toBe(ROUNDS - 1)
    expect(metadata.refs.inMemory(repo, text(ROUNDS - 1), 1e9)?.commit).toBe(commit)
    expect(grown).toBeLessThan(40)
  })

  it('do not fill the caches of refusals, rights, URLs, routes and responses', async () => {
    const monotonic = () => 1
    const refusals = new Refusals({ settings: { accessTtlMs: 60_000 }, monotonic })
    const urls = createSignedUrls({ monotonic, now: monotonic })
    const invalidations = new Invalidations()
    const ready = new ResponseCache({ monotonic, invalidations })
    const metadata = { repos: { setPublic: () => Promise.resolve() } } as unknown as Metadata
    const settings = { accessTtlMs: 60_000, staleGraceMs: 0 }
    const access = new Access({ metadata, restricted: NOT_NAMED, invalidations, settings, monotonic })
    const parse = createRouteParser('/')
    const route = parseHubUrl('/o/n/resolve/main/x', '/')
    const body = Buffer.from('{"error":"x"}')
    const refusal = {
      status: 404,
      code: 'EntryNotFound',
      message: 'x',
      commit: undefined,
      body,
      contentType: 'x',
    }
    const answer = {
      until: 1e9,
      askedAt: 1,
      generation: invalidations.generation,
      commit,
      status: 200,
      headers: ['etag', '"x"'],
    }
    if (route.kind !== 'file') throw new Error('no file')
    const grown = await growth(() => {
      for (let round = 0; round < ROUNDS; round += 1) {
        refusals.set(
          text(round),
          { kind: 'file', repo, target: text(round) },
          { refusal, headers: {}, at: 1 },
        )
        urls.set(text(round), new URL(`https://cdn/?${text(round)}`), undefined)
        ready.set('GET', `/o/n/resolve/main/${text(round)}`, { ...answer, route })
        access.denied(text(round), repo, round)
        parse(`/o/n/resolve/main/${text(round).slice(0, 2_000)}`)
      }
    })
    expect(grown).toBeLessThan(60)
  })
})
