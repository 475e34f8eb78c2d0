// Caches in memory are bounded by bytes, including their keys. Keys that callers choose must be in a `MemoryCache`, or be
// bounded by something that is listed here.

import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import * as fc from 'fast-check'
import { describe, expect, it, onTestFinished } from 'vitest'
import { ResponseCache } from '../../src/fast-path/response-cache.ts'
import type { CommitHash, Repo, RepoId } from '../../src/hub/names.ts'
import { parseHubUrl } from '../../src/hub/route.ts'
import { MemoryCache } from '../../src/memory.ts'
import { Access } from '../../src/mirror/access/access.ts'
import { Refusals } from '../../src/mirror/access/refusals.ts'
import { Invalidations } from '../../src/mirror/invalidations.ts'
import { Metadata } from '../../src/mirror/metadata/metadata.ts'
import { createSignedUrls } from '../../src/origin/files/signed-urls.ts'
import { createRouteParser } from '../../src/server/hub-route.ts'
import type { Facts } from '../../src/store/store.ts'
import { NOT_NAMED } from '../support/not-named.ts'
import { openFacts } from '../support/open-facts.ts'
import { scratchLayout } from './store/scratch.ts'

describe('a memory cache', () => {
  it('never holds more than its bound, whatever the keys are', () => {
    const name = fc.oneof(
      fc.string(),
      fc.nat(50_000).map((length) => 'x'.repeat(length)),
    )
    fc.assert(
      fc.property(fc.array(fc.tuple(name, fc.nat(5_000)), { maxLength: 200 }), (entries) => {
        const memory = new MemoryCache<number>({ maxBytes: 20_000, sizeOf: (value) => value })
        for (const [each, value] of entries) {
          memory.set(each, value)
          expect(memory.bytes).toBeLessThanOrEqual(20_000)
          expect(memory.get(each)).toBe(value)
        }
      }),
    )
  })

  it('distinguishes long keys, and keeps as many of them as of others', () => {
    const memory = new MemoryCache<number>({ maxBytes: 1_000_000 })
    const long = (index: number) => `${'x'.repeat(8_000)}${index}`
    for (let index = 0; index < 500; index += 1) memory.set(long(index), index)
    for (let index = 0; index < 500; index += 1) expect(memory.peek(long(index))).toBe(index)
    expect(memory.hasEvicted).toBe(false)
    memory.delete(long(7))
    expect([memory.has(long(7)), memory.has(long(8)), memory.count]).toEqual([false, true, 499])
  })

  it('reports removed entries, and whether a missing entry may have been evicted', () => {
    const gone: [string, number][] = []
    const memory = new MemoryCache<number>({
      maxBytes: 1_000,
      onRemove: (value, name) => gone.push([name, value]),
    })
    memory.set('a', 1)
    memory.set('a', 2)
    memory.delete('a')
    expect([gone, memory.hasEvicted]).toEqual([[['a', 2]], false])
    for (let index = 0; index < 10; index += 1) memory.set(`n${index}`, index)
    expect(memory.hasEvicted).toBe(true)
    expect(gone[1]).toEqual(['n0', 0])
  })

  it('does not keep an entry that is too large', () => {
    const memory = new MemoryCache<number>({
      maxBytes: 10_000,
      maxEntryBytes: 1_000,
      sizeOf: (value) => value,
    })
    memory.set('a', 900)
    expect(memory.get('a')).toBeUndefined()
    memory.set('a', 500)
    expect(memory.get('a')).toBe(500)
  })
})

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

describe('the source', () => {
  const root = path.join(import.meta.dirname, '../../src')
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((name) =>
    name.endsWith('.ts'),
  )
  const matches = (pattern: RegExp) =>
    files.flatMap((file) =>
      [...readFileSync(path.join(root, file), 'utf8').matchAll(pattern)].map(
        (match) => `${file} ${match[1]}`,
      ),
    )

  it('has no cache besides MemoryCache except that of open files, which is bounded by descriptors', () => {
    expect(matches(/from '(lru-cache)'/g).toSorted()).toEqual([
      'memory.ts lru-cache',
      'store/blobs/open-files.ts lru-cache',
    ])
  })

  it('has no lasting map except these, each of which is bounded by the thing named', () => {
    const bounded: Readonly<Record<string, string>> = {
      'callers/token-list.ts indexes': 'a WeakMap',
      'callers/token-list.ts matchers': 'a WeakMap',
      'hub/document-scan.ts #members': 'names that are asked for, for one document',
      'mirror/documents/document-plans.ts #plans': 'a WeakMap',
      'mirror/documents/document-memory.ts #byCaller': 'callers that hold a document',
      'mirror/documents/document-memory.ts #spaces': 'a WeakMap',
      'mirror/documents/documents.ts #kept': 'a WeakMap',
      'mirror/downloads/downloads.ts #downloads': 'downloads under way',
      'mirror/downloads/downloads.ts #settling': 'downloads that end',
      'mirror/documents/hub-documents.ts #questions': 'questions under way',
      'mirror/metadata/repos.ts #publicWrites': 'writes under way',
      'mirror/metadata/files.ts parsedFiles': 'a WeakMap',
      'mirror/files/file-answers.ts madeHeaders': 'a WeakMap',
      'mirror/files/listed-files.ts #first': 'requests under way',
      'fast-path/response-cache.ts #targets': 'answers that are remembered',
      'pins/pins.ts #runs': 'pins of the file',
      'mirror/single-flight.ts #running': 'questions under way',
      'origin/connections/body-buffers.ts #byCaller': 'callers that hold memory',
      'origin/connections/fair-queue.ts #callers': 'callers that wait',
      'origin/files/file-body.ts #validators': 'hosts that a redirect may lead to, for one file',
      'origin/threads/body-threads.ts givers': 'a WeakMap',
      'origin/threads/body-threads.ts #transfers': 'bodies under way',
      'origin/threads/body-worker.ts transfers': 'bodies under way',
      'origin/threads/body-worker.ts unreported': 'bodies under way',
      'origin/threads/body-worker.ts idle': 'connections that have ended within a few seconds',
      'origin/threads/body-worker.ts sessions': 'hosts, at most MAX_SESSIONS',
      'origin/connections/shares.ts #callers': 'callers that hold or want a connection',
      'origin/connections/shares.ts #hosts': 'hosts with connections',
      'server/context.ts abouts': 'a WeakMap',
      'server/limits.ts #counts': 'a WeakMap',
      'workers/main/handoff.ts #open': 'hand-offs under way',
      'workers/header-fields.ts clients': 'a WeakMap',
      'server/body/read-buffers.ts #free': 'sizes of buffers',
      'fast-path/cached-route.ts ends': 'a WeakMap',
      'server/body/shared-reads.ts #files': 'readers of files',
      'server/request-record.ts records': 'a WeakMap',
      'workers/main/worker-link.ts #cached': 'repos of answers that workers may repeat, for a minute',
      'mirror/git-clones.ts #waiting': 'clones that are to be kept, at most MAX_WAITING',
      'mirror/git-clones.ts #answering': 'callers whose clones are answered',
      'mirror/downloads/downloads.ts #receivers': 'uploads under way, at most MAX_RECEIVERS',
      'store/blobs/handoff-links.ts #links': 'links to files that a front proxy sends, for a while',
      'store/blobs/blobs.ts #quarantining': 'blobs that are being removed',
      'store/table/fact-rows.ts #lastNumbers': 'kinds of facts',
      'store/table/table-thread.ts #waiting': 'requests under way',
      'store/table/table-worker.ts tables': 'stores that are open',
      'store/table/table-worker.ts turns': 'stores with requests under way',
      'store/facts/facts.ts #landing': 'changes under way',
      'store/facts/facts.ts #reading': 'reads under way',
      'store/partials/hash-thread.ts #waiting': 'pulls under way',
      'store/partials/hash-worker.ts jobs': 'pulls under way',
      'store/ledger.ts #entries': 'blobs that are stored',
      'store/ledger.ts #removing': 'removals under way',
      'store/partials/partial.ts #frontiers': 'runs of one pull',
      'telemetry/log.ts aboutTexts': 'a WeakMap',
      'telemetry/log.ts batches': 'a WeakMap',
      'telemetry/tally.ts #cells': 'kinds of routes, outcomes and statuses',
      'telemetry/tally.ts #decisions': 'results of decisions',
      'telemetry/tally.ts #distributions': 'names of histograms',
    }
    // Fields of classes, and what stands at the top of a file; tables that are written down there are no memories.
    const lasting =
      /^(?: {2}(?:readonly )?(#\w+)|(?:const|let) (\w+)) (?:: [^=\n]+)?= new (?:Weak)?Map[<(](?!.*\(\[)/gm
    const found = files.flatMap((file) =>
      [...readFileSync(path.join(root, file), 'utf8').matchAll(lasting)].map(
        ([, field, constant]) => `${file} ${field ?? constant}`,
      ),
    )
    expect([...new Set(found)].filter((name) => bounded[name] === undefined)).toEqual([])
    expect(found.length).toBeGreaterThan(20)
  })
})
