// Decides which bytes an operator's selection removes, and removes them beside a running mirror. Unlinking is safe for
// readers: they read on. The mirror's ledger drops a removed blob when the mirror next fails to open it.

import { rm } from 'node:fs/promises'
import { unlinkIfThere } from '../atomic.ts'
import type { BlobKey } from '../digest.ts'
import { removeGit, type StoredGit, walkGit } from '../git/git-repos.ts'
import type { Layout } from '../layout.ts'
import { FACT_KINDS, type FactKind, RESTRICTED } from '../store.ts'
import { type Change, withTable } from '../table/table.ts'
import {
  gitBytesOf,
  type Holding,
  type Inventory,
  parseOwner,
  type StoredEntry,
  unclaimed,
} from './inventory.ts'
import { type StoredFact, statFile, walkFacts } from './walk.ts'

/**
 * A partial that was written to within this time may belong to a download under way, and the fact of a blob stored within it
 * may not be on the disk yet. One hour is the longest origin timeout that can be configured.
 */
const SETTLE_MS = 3_600_000

/**
 * `owners` and `unclaimed` select the bytes that may be removed; without both, all of them. `olderThanMs` and `maxBytes`
 * select which of these are removed; without both, all.
 */
export interface Selection {
  /** `<origin> <repo>`, keys of the inventory's holdings. */
  readonly owners?: ReadonlySet<string>
  readonly unclaimed: boolean
  /** Removes what was not used for this long. */
  readonly olderThanMs?: number
  /** Removes the least recently used until the whole store is not larger than this. */
  readonly maxBytes?: number
  /** Bytes of these stay in any case. */
  readonly pinned?: ReadonlySet<BlobKey>
}

/** What a prune would remove. Making it changes nothing. */
export interface PrunePlan {
  readonly victims: readonly { readonly entry: StoredEntry; readonly owner: string | undefined }[]
  /** Git repositories, each of one repo. */
  readonly gits: readonly StoredGit[]
  /** What stays although its repo was selected, because another repo needs it. */
  readonly kept: { readonly blobs: number; readonly sizeBytes: number }
  /** What stays although it was selected, because it is pinned. Facts of its repos stay as well. */
  readonly pinned: { readonly blobs: number; readonly sizeBytes: number }
  /** Repos that are removed entirely: their facts go too, and their bytes even if they were used since. */
  readonly removedOwners: ReadonlySet<string>
}

/** What was removed. */
export interface Pruned {
  /** By owner; undefined for bytes that no repo claimed. The sizes include those of git repositories. */
  readonly removed: ReadonlyMap<string | undefined, { blobs: number; sizeBytes: number }>
  readonly gits: number
  readonly facts: number
  /** Used or replaced since the plan was made, or removed already. */
  readonly skipped: number
}

/** Decides what is removed. A blob that a repo outside the selection needs always stays. */
export function planPrune(inventory: Inventory, selection: Selection, now: number): PrunePlan {
  const limited = selection.olderThanMs !== undefined || selection.maxBytes !== undefined
  const owners = new Map<number, string>()
  const kept = { blobs: 0, sizeBytes: 0 }
  const scope = new Set<number>()
  const named = selection.owners
  const selected = [...inventory.holdings].filter(([owner]) => named?.has(owner) ?? !selection.unclaimed)
  const claims = countClaims(selected.map(([, holding]) => holding))
  for (const [owner, holding] of selected) {
    for (const number of holding.entries) {
      const entry = inventory.entries[number]
      if (entry === undefined || owners.has(number)) continue
      owners.set(number, owner)
      if (entry.claims <= (claims.get(number) ?? 0)) scope.add(number)
      else {
        kept.blobs += 1
        kept.sizeBytes += entry.sizeBytes
      }
    }
  }
  if (selection.unclaimed || named === undefined) for (const number of unclaimed(inventory)) scope.add(number)

  const pinned = { blobs: 0, sizeBytes: 0 }
  const isPinned = (entry: StoredEntry | undefined): entry is StoredEntry =>
    entry !== undefined && selection.pinned?.has(entry.key) === true
  for (const number of scope) {
    const entry = inventory.entries[number]
    if (!isPinned(entry)) continue
    scope.delete(number)
    pinned.blobs += 1
    pinned.sizeBytes += entry.sizeBytes
  }

  // Also of blobs that another repo shares.
  const pinnedOwners = new Set(
    selected.flatMap(([owner, { entries }]) =>
      [...entries].some((number) => isPinned(inventory.entries[number])) ? [owner] : [],
    ),
  )

  const candidates = [...scope]
    .flatMap((number) => {
      const entry = inventory.entries[number]
      if (entry === undefined) return []
      const unsettled = entry.kind === 'partial' || (entry.claims === 0 && !limited)
      if (unsettled && now - entry.usedAt < SETTLE_MS) return []
      return [{ entry, owner: owners.get(number) }]
    })
    .sort((a, b) => a.entry.usedAt - b.entry.usedAt)
  const gits = selected.flatMap(([, { git }]) => (git === undefined ? [] : [{ entry: git }]))
  const all = [...candidates, ...gits].sort((a, b) => a.entry.usedAt - b.entry.usedAt)
  const chosen = limited ? withinLimits(inventory, all, selection, now) : all
  return {
    victims: chosen.flatMap((candidate) => ('owner' in candidate ? [candidate] : [])),
    gits: chosen.flatMap((candidate) => ('owner' in candidate ? [] : [candidate.entry])),
    kept,
    pinned,
    removedOwners: new Set(
      limited || named === undefined ? [] : [...named].filter((owner) => !pinnedOwners.has(owner)),
    ),
  }
}

function countClaims(holdings: readonly Holding[]): ReadonlyMap<number, number> {
  const claims = new Map<number, number>()
  for (const holding of holdings)
    for (const number of holding.entries) claims.set(number, (claims.get(number) ?? 0) + 1)
  return claims
}

function withinLimits<T extends { readonly entry: Pick<StoredEntry, 'sizeBytes' | 'usedAt'> }>(
  inventory: Inventory,
  candidates: readonly T[],
  selection: Selection,
  now: number,
): T[] {
  const { olderThanMs, maxBytes } = selection
  const inGit = gitBytesOf(inventory.holdings.values())
  let left = inventory.entries.reduce((sum, entry) => sum + entry.sizeBytes, inGit)
  const victims: T[] = []
  for (const candidate of candidates) {
    const { sizeBytes, usedAt } = candidate.entry
    const old = olderThanMs !== undefined && now - usedAt > olderThanMs
    if (!old && !(maxBytes !== undefined && left > maxBytes)) break
    victims.push(candidate)
    left -= sizeBytes
  }
  return victims
}

/**
 * Carries out a plan: bytes first, then facts, because a fact without its bytes is a cache miss, while bytes without a fact
 * are litter. What was used since the plan was made stays, unless its repo was named. Rejects with the error of the disk;
 * what was removed by then stays removed.
 */
export async function carryOut(layout: Layout, plan: PrunePlan): Promise<Pruned> {
  const removed = new Map<string | undefined, { blobs: number; sizeBytes: number }>()
  let skipped = 0
  const evenIfUsed = ({ entry, owner }: Victim): boolean =>
    entry.kind === 'blob' && owner !== undefined && plan.removedOwners.has(owner)
  for (let start = 0; start < plan.victims.length; start += REMOVE_AT_ONCE) {
    const victims = plan.victims.slice(start, start + REMOVE_AT_ONCE)
    const gone = await removeRows(layout, victims, evenIfUsed)
    for (const victim of victims) {
      const { entry, owner } = victim
      const isGone = entry.isInTable
        ? gone.has(entry.key)
        : await removeFile(layout, entry, evenIfUsed(victim))
      if (!isGone) {
        skipped += 1
        continue
      }
      addTo(removed, owner, { blobs: 1, sizeBytes: entry.sizeBytes })
    }
  }
  const usedAt = new Map<string, number>()
  if (plan.gits.length > 0) for await (const git of walkGit(layout)) usedAt.set(git.owner, git.usedAt)
  let gits = 0
  for (const { owner, sizeBytes, usedAt: before } of plan.gits) {
    const isUnused = (usedAt.get(owner) ?? before) <= before || plan.removedOwners.has(owner)
    if (!isUnused || !(await removeGit(layout, owner))) {
      skipped += 1
      continue
    }
    gits += 1
    addTo(removed, owner, { blobs: 0, sizeBytes })
  }
  return { removed, gits, skipped, facts: await removeFacts(layout, plan.removedOwners) }
}

/** Adds to the sums of an owner. */
export function addTo<Owner>(
  sums: Map<Owner, { blobs: number; sizeBytes: number }>,
  owner: Owner,
  { blobs, sizeBytes }: { readonly blobs: number; readonly sizeBytes: number },
): void {
  const sum = sums.get(owner) ?? { blobs: 0, sizeBytes: 0 }
  sums.set(owner, { blobs: sum.blobs + blobs, sizeBytes: sum.sizeBytes + sizeBytes })
}

type Victim = PrunePlan['victims'][number]

/** How many rows are removed in one commit: a running mirror waits for it. */
const REMOVE_AT_ONCE = 1000

/**
 * Removes the rows of blobs, and the bytes of those in the table that may go. The rows of files go before the files: a mirror that
 * stores one again adds its row later. Resolves with the small blobs that are gone.
 */
async function removeRows(
  layout: Layout,
  victims: readonly Victim[],
  evenIfUsed: (victim: Victim) => boolean,
): Promise<ReadonlySet<BlobKey>> {
  const blobs = victims.filter(({ entry }) => entry.kind === 'blob')
  const gone = new Set<BlobKey>()
  if (blobs.length === 0) return gone
  await withTable(layout.facts, { readOnly: false }, (table) => {
    const changes: Change[] = [{ act: 'doubt-rows' }]
    for (const victim of blobs) {
      const { key, isInTable } = victim.entry
      if (isInTable && !mayGo(table?.blob(key)?.usedAt, victim.entry, evenIfUsed(victim))) continue
      changes.push({ act: 'remove-blob', key })
      if (isInTable) gone.add(key)
    }
    table?.change(changes, Number.POSITIVE_INFINITY)
  })
  return gone
}

/** Whether a victim is there, and was not used since the plan was made. */
function mayGo(usedAt: number | undefined, entry: StoredEntry, evenIfUsed: boolean): boolean {
  return usedAt !== undefined && (usedAt <= entry.usedAt || evenIfUsed)
}

async function removeFile(layout: Layout, entry: StoredEntry, evenIfUsed: boolean): Promise<boolean> {
  const partial = entry.kind === 'partial'
  const file = partial ? `${layout.partial(entry.key)}/data` : layout.blob(entry.key)
  if (!mayGo((await statFile(file))?.modifiedAt, entry, evenIfUsed)) return false
  if (partial) {
    await rm(layout.partial(entry.key), { recursive: true, force: true })
    return true
  }
  const wasThere = await unlinkIfThere(file)
  await unlinkIfThere(layout.sums(entry.key)).catch(() => undefined)
  return wasThere
}

async function removeFacts(layout: Layout, owners: ReadonlySet<string>): Promise<number> {
  if (owners.size === 0) return 0
  let count = 0
  const removals: Change[] = []
  for (const kind of FACT_KINDS) {
    for await (const fact of walkFacts(layout, kind)) {
      if (fact.kind !== 'fact' || !isFactOf(owners, kind, fact)) continue
      if ('id' in fact.place) removals.push({ act: 'remove', kind, id: fact.place.id })
      else if (await unlinkIfThere(fact.place.file)) count += 1
    }
  }
  await withTable(layout.facts, { readOnly: false }, (table) => {
    for (let start = 0; start < removals.length; start += REMOVE_AT_ONCE)
      table?.change(removals.slice(start, start + REMOVE_AT_ONCE), Number.POSITIVE_INFINITY)
  })
  return count + removals.length
}

function isFactOf(
  owners: ReadonlySet<string>,
  kind: FactKind,
  fact: Extract<StoredFact, { kind: 'fact' }>,
): boolean {
  if (kind === 'repos') return owners.has(fact.key) || isMarkOf(owners, fact.key)
  const [origin = '', second = '', target = ''] = fact.key.split(' ', 3)
  if (kind !== 'documents') return owners.has(`${origin} ${second}`)
  // '<origin> GET /api/models/org/name/tree/main' or 'POST …/paths-info/main <digest>': second is the method.
  // '<origin> GET /parquet?dataset=org%2Fname' is an answer of the datasets-server.
  const dataset = /^\/[a-z-]+\?dataset=([^&]+)/.exec(target)?.[1]
  if (dataset !== undefined) return owners.has(`${origin} datasets/${dataset.replace('%2F', '/')}`)
  // '<origin> MANIFEST /v2/org/name/manifests/tag any <Accept>' and 'BLOB …' are answers of the registry.
  const model = /^\/v2\/([^/]+\/[^/]+)\//.exec(target)?.[1]
  if (model !== undefined) return owners.has(`${origin} models/${model}`)
  if (!target.startsWith('/api/')) return false
  const [segment = '', first = '', next] = target.slice('/api/'.length).replace(/\?.*$/s, '').split('/', 3)
  // `models/gpt2/tree/…` belongs to `gpt2`, `models/org/name/…` to `org/name`. If an organisation has the name of a tail,
  // one document too many is removed, which costs one request to the Hub.
  return [`${segment}/${first}`, `${segment}/${first}/${next ?? ''}`].some((repo) => {
    const owner = `${origin} ${repo}`
    if (!owners.has(owner) || parseOwner(owner) === undefined) return false
    return repo.split('/').length === 3 || next === undefined || DOCUMENT_TAILS.has(next)
  })
}

/** What is said of a restricted repo as a whole has a key in lower case. */
function isMarkOf(owners: ReadonlySet<string>, key: string): boolean {
  if (!key.startsWith(RESTRICTED)) return false
  return [...owners].some((owner) => owner.toLowerCase() === key.toLowerCase())
}

const DOCUMENT_TAILS: ReadonlySet<string> = new Set(
  'revision tree paths-info refs commits treesize parquet croissant safetensors-metadata'.split(' '),
)
