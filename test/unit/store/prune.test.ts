import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  type Holding,
  type Inventory,
  type StoredEntry,
  takeInventory,
} from '../../../src/store/upkeep/inventory.ts'
import { carryOut, planPrune } from '../../../src/store/upkeep/prune.ts'
import { walkFacts } from '../../../src/store/upkeep/walk.ts'
import { COMMIT, type MadeStore, makeStore, ORIGIN, repoOf } from './made-store.ts'

const NOW = 1_000_000_000_000
const DAY_MS = 86_400_000

interface Sketch {
  readonly sizeBytes: number
  readonly ageMs: number
  readonly kind?: StoredEntry['kind']
  /** Names of the repos that need it. */
  readonly repos: readonly string[]
}

/** Makes an inventory from a list of blobs, without a disk. */
function sketch(blobs: readonly Sketch[]): Inventory {
  const holdings = new Map<string, Holding>()
  const entries = blobs.map(({ sizeBytes, ageMs, repos, kind = 'blob' }, number): StoredEntry => {
    for (const repo of new Set(repos)) {
      const owner = `o models/${repo}`
      const fresh = {
        origin: 'o',
        repo: `models/${repo}`,
        files: 0,
        entries: new Set<number>(),
        isPublic: true,
      }
      const holding = holdings.get(owner) ?? fresh
      holding.entries.add(number)
      holdings.set(owner, holding)
    }
    const key = `sha256:${number.toString(16).padStart(64, '0')}` as const
    return { kind, isInTable: false, key, sizeBytes, usedAt: NOW - ageMs, claims: new Set(repos).size }
  })
  return { entries, holdings, damagedFacts: 0 }
}

const owners = (...repos: string[]) => new Set(repos.map((repo) => `o models/${repo}`))
const numbersOf = (inventory: Inventory, plan: { victims: readonly { entry: StoredEntry }[] }): number[] =>
  plan.victims.map(({ entry }) => inventory.entries.indexOf(entry)).sort((a, b) => a - b)

const anyBlobs = fc.array(
  fc.record({
    sizeBytes: fc.integer({ min: 0, max: 1000 }),
    ageMs: fc.integer({ min: 0, max: 100 * DAY_MS }),
    repos: fc.subarray(['a', 'b', 'c']),
  }),
  { maxLength: 30 },
)

describe('a plan', () => {
  it('never removes what another repo needs, and removes everything else of the selected repos', () => {
    fc.assert(
      fc.property(anyBlobs, fc.subarray(['a', 'b', 'c'], { minLength: 1 }), (blobs, going) => {
        const inventory = sketch(blobs)
        const plan = planPrune(inventory, { owners: owners(...going), unclaimed: false }, NOW)
        const expected = blobs.flatMap(({ repos }, number) =>
          repos.length > 0 && repos.every((repo) => going.includes(repo)) ? [number] : [],
        )
        expect(numbersOf(inventory, plan)).toEqual(expected)
        const shared = blobs.filter(
          ({ repos }) =>
            repos.some((repo) => going.includes(repo)) && !repos.every((repo) => going.includes(repo)),
        )
        expect(plan.kept.blobs).toBe(shared.length)
      }),
    )
  })

  it('by size removes the least recently used, and no more than needed', () => {
    fc.assert(
      fc.property(anyBlobs, fc.integer({ min: 0, max: 20_000 }), (blobs, maxBytes) => {
        const inventory = sketch(blobs)
        const gone = new Set(numbersOf(inventory, planPrune(inventory, { unclaimed: false, maxBytes }, NOW)))
        const stays = blobs.filter((_, number) => !gone.has(number))
        const left = stays.reduce((sum, blob) => sum + blob.sizeBytes, 0)
        expect(left).toBeLessThanOrEqual(maxBytes)
        const went = blobs.filter((_, number) => gone.has(number))
        const youngestGone = Math.min(...went.map(({ ageMs }) => ageMs))
        for (const blob of stays) expect(blob.ageMs).toBeLessThanOrEqual(youngestGone)
        const lastBytes = Math.max(...went.filter((b) => b.ageMs === youngestGone).map((b) => b.sizeBytes))
        if (went.length > 0) expect(left + lastBytes).toBeGreaterThan(maxBytes)
      }),
    )
  })

  it.each([
    ['by age, what was not used for longer', { unclaimed: false, olderThanMs: 30 * DAY_MS }, [2, 3]],
    ['by age within a repo', { owners: owners('a'), unclaimed: false, olderThanMs: 30 * DAY_MS }, [2]],
    ['by age, what nobody claims', { unclaimed: true, olderThanMs: 30 * DAY_MS }, [3]],
    ['what nobody claims', { unclaimed: true }, [3, 4]],
    ['a repo and what nobody claims', { owners: owners('b'), unclaimed: true }, [1, 3, 4]],
    [
      'by age and by size, whichever removes more',
      { unclaimed: false, olderThanMs: 90 * DAY_MS, maxBytes: 300 },
      [2, 3],
    ],
  ])('removes %s', (_, selection, expected) => {
    const inventory = sketch([
      { sizeBytes: 100, ageMs: DAY_MS / 4, repos: ['a'] },
      { sizeBytes: 100, ageMs: DAY_MS, repos: ['b'] },
      { sizeBytes: 100, ageMs: 40 * DAY_MS, repos: ['a'] },
      { sizeBytes: 100, ageMs: 50 * DAY_MS, repos: [] },
      { sizeBytes: 100, ageMs: 2 * DAY_MS, repos: [] },
    ])
    expect(numbersOf(inventory, planPrune(inventory, selection, NOW))).toEqual(expected)
  })

  it('spares a partial that a download may be writing, and a new blob whose fact may not be written yet', () => {
    const inventory = sketch([
      { sizeBytes: 100, ageMs: 60_000, kind: 'partial', repos: ['a'] },
      { sizeBytes: 100, ageMs: DAY_MS, kind: 'partial', repos: ['a'] },
      { sizeBytes: 100, ageMs: 60_000, repos: [] },
    ])
    const plan = planPrune(inventory, { owners: owners('a'), unclaimed: true }, NOW)
    expect(numbersOf(inventory, plan)).toEqual([1])
    expect(numbersOf(inventory, planPrune(inventory, { unclaimed: false, maxBytes: 0 }, NOW))).toEqual([1, 2])
  })
})

describe('what is pinned', () => {
  it('stays, with the facts of its repo, and is counted', () => {
    const inventory = sketch([
      { sizeBytes: 100, ageMs: DAY_MS, repos: ['a'] },
      { sizeBytes: 70, ageMs: 2 * DAY_MS, repos: ['a'] },
      { sizeBytes: 50, ageMs: 3 * DAY_MS, repos: ['b'] },
    ])
    const pinned = new Set([inventory.entries[1]!.key])
    const named = planPrune(inventory, { owners: owners('a', 'b'), unclaimed: false, pinned }, NOW)
    expect(numbersOf(inventory, named)).toEqual([0, 2])
    expect(named).toMatchObject({ pinned: { blobs: 1, sizeBytes: 70 }, removedOwners: owners('b') })
    // What stays must not make others stay.
    const bySize = planPrune(inventory, { unclaimed: false, maxBytes: 100, pinned }, NOW)
    expect(numbersOf(inventory, bySize)).toEqual([0, 2])
  })

  it('keeps the facts of each repo that has it, also if another repo shares all of it', () => {
    const inventory = sketch([{ sizeBytes: 100, ageMs: DAY_MS, repos: ['a', 'b'] }])
    const pinned = new Set([inventory.entries[0]!.key])
    for (const names of [['a'], ['b'], ['a', 'b']]) {
      const plan = planPrune(inventory, { owners: owners(...names), unclaimed: false, pinned }, NOW)
      expect([plan.victims, plan.removedOwners]).toEqual([[], new Set()])
    }
  })
})

describe('carrying out a plan', () => {
  let made: MadeStore
  beforeEach(async () => {
    made = await makeStore()
  })
  afterEach(() => made.remove())

  const factsLeft = async (): Promise<string[]> => {
    const keys: string[] = []
    for (const kind of ['files', 'refs', 'repos', 'documents'] as const)
      for await (const fact of walkFacts(made.layout, kind))
        keys.push(fact.kind === 'fact' ? `${kind} ${fact.key.slice(ORIGIN.length + 1)}` : 'damaged')
    return keys.sort()
  }

  it('removes what the datasets-server said of a dataset, and nothing of another', async () => {
    const metadata = made.known()
    for (const id of ['org/rows', 'org/rows-2']) {
      await metadata.repos.setPublic({ ...repoOf(id), type: 'dataset' }, true)
      metadata.documents.set(`GET /parquet?dataset=${encodeURIComponent(id)}&config=a`, DOCUMENT, 0)
    }
    await made.settled()
    const selection = { owners: new Set([`${ORIGIN} datasets/org/rows`]), unclaimed: false }
    await carryOut(made.layout, planPrune(await takeInventory(made.layout), selection, Date.now()))
    const documents = (await factsLeft()).filter((fact) => fact.startsWith('documents '))
    expect(documents).toEqual(['documents GET /parquet?dataset=org%2Frows-2&config=a'])
  })

  it('removes what the registry said of a model, and nothing of another', async () => {
    const metadata = made.known()
    for (const id of ['org/name', 'org/name-2']) {
      await metadata.repos.setPublic(repoOf(id), true)
      metadata.documents.set(`MANIFEST /v2/${id}/manifests/latest any application/json`, DOCUMENT, 0)
      metadata.documents.set(`BLOB /v2/${id}/blobs/sha256:abc`, DOCUMENT, 0)
    }
    await made.settled()
    const selection = { owners: new Set([`${ORIGIN} models/org/name`]), unclaimed: false }
    await carryOut(made.layout, planPrune(await takeInventory(made.layout), selection, Date.now()))
    const documents = (await factsLeft()).filter((fact) => fact.startsWith('documents '))
    expect(documents).toEqual([
      'documents BLOB /v2/org/name-2/blobs/sha256:abc',
      'documents MANIFEST /v2/org/name-2/manifests/latest any application/json',
    ])
  })

  it('removes what is said of a restricted repo in whatever spelling', async () => {
    const origin = `restricted:${ORIGIN}`
    for (const id of ['org/other', 'org/secret'])
      await made.facts.write('repos', `${origin} models/${id}`, { shown: true })
    await made.settled()
    const selection = { owners: new Set([`${origin} models/Org/Secret`]), unclaimed: false }
    await carryOut(made.layout, planPrune(await takeInventory(made.layout), selection, Date.now()))
    expect(await factsLeft()).toEqual([`repos ${`${origin} models/org/other`.slice(ORIGIN.length + 1)}`])
  })

  it('removes the bytes and every fact of a repo, and none of another', async () => {
    const metadata = made.known()
    const kept: string[] = []
    for (const id of ['gpt2', 'org/name', 'org/name-2']) {
      await made.stored(repoOf(id), 'a.bin', Buffer.from(id))
      await metadata.repos.setPublic(repoOf(id), true)
      metadata.refs.set(repoOf(id), 'main', COMMIT, { askedAt: 1, store: true })
      for (const tail of ['', '/tree/main?recursive=true', '?full=true', '/revision/main'])
        metadata.documents.set(`GET /api/models/${id}${tail}`, DOCUMENT, 0)
      metadata.documents.set(`POST /api/models/${id}/paths-info/main abc`, DOCUMENT, 0)
    }
    metadata.documents.set('GET /api/datasets/org/name', DOCUMENT, 0)
    metadata.documents.set('GET /api/models?search=org/name', DOCUMENT, 0)
    await made.settled()
    for (const key of await factsLeft()) if (!/models\/(?:gpt2|org\/name)(?![\w-])/.test(key)) kept.push(key)

    const selection = {
      owners: new Set([`${ORIGIN} models/gpt2`, `${ORIGIN} models/org/name`]),
      unclaimed: false,
    }
    const plan = planPrune(await takeInventory(made.layout), selection, Date.now())
    const pruned = await carryOut(made.layout, plan)
    expect([...pruned.removed.values()]).toEqual([
      { blobs: 1, sizeBytes: 4 },
      { blobs: 1, sizeBytes: 8 },
    ])
    expect(pruned.facts).toBe(2 * 9)
    // One file, one ref, the names of the refs, that it is public, five documents of the third; and two of no repo.
    expect(kept).toHaveLength(9 + 2)
    expect(await factsLeft()).toEqual(kept)
  })

  it.each([
    ['small', Buffer.from('a')],
    ['large', Buffer.alloc(70_000)],
  ])(
    'spares a %s blob that was used since the plan was made, unless its repo was named',
    async (_, bytes) => {
      const key = await made.stored(repoOf('org/a'), 'a.bin', bytes, { ageMs: 40 * DAY_MS })
      const inventory = await takeInventory(made.layout)
      const byAge = planPrune(inventory, { unclaimed: false, olderThanMs: DAY_MS }, Date.now())
      const byName = planPrune(
        inventory,
        { owners: new Set(inventory.holdings.keys()), unclaimed: false },
        Date.now(),
      )
      await made.use(key)
      expect(await carryOut(made.layout, byAge)).toMatchObject({ skipped: 1, facts: 0 })
      expect(await made.has(key)).toBe(true)
      expect(await carryOut(made.layout, byName)).toMatchObject({ skipped: 0, facts: 1 })
      expect([await made.has(key), await made.row(key)]).toEqual([false, undefined])
    },
  )

  it('skips what is gone already', async () => {
    await made.stored(repoOf('org/a'), 'a.bin', Buffer.from('a'))
    const plan = planPrune(await takeInventory(made.layout), { unclaimed: false, maxBytes: 0 }, Date.now())
    await carryOut(made.layout, plan)
    const again = await carryOut(made.layout, plan)
    expect([again.skipped, again.removed.size]).toEqual([1, 0])
  })
})

const DOCUMENT = { body: Buffer.from('{}'), contentType: 'application/json', link: undefined, headers: {} }
