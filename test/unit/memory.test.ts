// Caches in memory are bounded by bytes, including their keys. Keys that callers choose must be in a `MemoryCache`, or be
// bounded by something that is listed here.

import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { MemoryCache } from '../../src/memory.ts'

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
      'commands/pins/reconciler.ts #reached': 'a WeakMap',
      'commands/bundle/manifest.ts #repos': 'rows of a manifest, which has at most MAX_MANIFEST_BYTES',
      'commands/bundle/manifest.ts #sizes': 'rows of a manifest, which has at most MAX_MANIFEST_BYTES',
      'commands/bundle/stored-repos.ts #repos': 'repos of the command line',
      'commands/bundle/stored-repos.ts #refs': 'revisions of the command line',
      'commands/bundle/stored-repos.ts #files': 'files of the revisions of the command line',
      'commands/bundle/stored-repos.ts #documents': 'documents of the revisions of the command line',
      'commands/bundle/stored-repos.ts #blobs': 'files of the revisions of the command line',
      'pins/pins.ts #runs': 'pins of the file',
      'pins/pins.ts #runOfPin': 'a WeakMap',
      'pins/pins.ts #wanted': 'pins of the file',
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
