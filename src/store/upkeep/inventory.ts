// What a store holds, by repo. It is read from blobs and facts without the lock, so that a mirror may be running on the
// store. Names are taken from facts. Who may read what is not known here, only whether a repo was public when last checked.

import { type BlobKey, isBlobKey } from '../digest.ts'
import { type StoredGit, walkGit } from '../git/git-repos.ts'
import type { Layout } from '../layout.ts'
import { partialName } from '../partials/partial-name.ts'
import { RESTRICTED } from '../store.ts'
import { type StoredFact, statAll, walkBlobs, walkFacts, walkPartials, walkSmallBlobs } from './walk.ts'

/** A file of one commit that the Hub is known to have. Its bytes may be stored or not. */
export interface FileRecord {
  /** `<origin> <repo>`, the key of a holding. */
  readonly owner: string
  readonly commit: string
  readonly path: string
  readonly key: BlobKey
  readonly sizeBytes: number
}

/** The bytes of one key: a blob, or a partial with the space that it takes so far. */
export interface StoredEntry {
  readonly kind: 'blob' | 'partial'
  /** Whether its bytes are in the table, and not in a file. */
  readonly isInTable: boolean
  readonly key: BlobKey
  readonly sizeBytes: number
  readonly usedAt: number
  /** How many repos have a file with these bytes. With 0, no fact says what they are. */
  claims: number
}

/** What is stored of one repo of one origin. `entries` are indexes into `Inventory.entries`. */
export interface Holding {
  readonly origin: string
  /** As in facts: `models/org/name`. */
  readonly repo: string
  /** Number of files, of any commit, whose bytes are all stored. */
  files: number
  readonly entries: Set<number>
  isPublic: boolean
  /** Its git repository, if one is stored. */
  git?: StoredGit
}

/** The contents of a store at one time. */
export interface Inventory {
  readonly entries: readonly StoredEntry[]
  /** By owner, `<origin> <repo>`. */
  readonly holdings: ReadonlyMap<string, Holding>
  readonly damagedFacts: number
}

/** Totals over some of the entries. */
export interface Totals {
  readonly blobs: number
  readonly sizeBytes: number
  /** The part of `sizeBytes` that other repos need as well. */
  readonly sharedBytes: number
  readonly partials: number
  readonly partialBytes: number
  /** The latest use; undefined when there are no entries. */
  readonly usedAt: number | undefined
}

/**
 * Reads the whole store once. A file that is stored or removed meanwhile may be missed or counted. Damaged facts are counted
 * and otherwise ignored. In memory it holds one small record for each blob and one number for each blob of a repo, no facts.
 */
export async function takeInventory(layout: Layout): Promise<Inventory> {
  const entries: StoredEntry[] = []
  const numbers = new Map<string, number>()
  // Bytes before facts: the mirror writes the fact of a file before its blob, so that a new blob is not unclaimed.
  for await (const [key, stats] of statAll(walkBlobs(layout), (key) => layout.blob(key))) {
    if (stats === undefined) continue
    numbers.set(key, entries.length)
    const { sizeBytes, modifiedAt: usedAt } = stats
    entries.push({ kind: 'blob', isInTable: false, key, sizeBytes, usedAt, claims: 0 })
  }
  for await (const { key, sizeBytes, usedAt } of walkSmallBlobs(layout)) {
    // A file that has just been moved to the table was counted already.
    if (numbers.has(key)) continue
    numbers.set(key, entries.length)
    entries.push({ kind: 'blob', isInTable: true, key, sizeBytes, usedAt, claims: 0 })
  }
  const dataOf = (key: BlobKey): string => `${layout.partial(key)}/data`
  for await (const [key, stats] of statAll(walkPartials(layout), dataOf)) {
    if (stats === undefined || numbers.has(key)) continue
    numbers.set(partialName(key), entries.length)
    entries.push({
      kind: 'partial',
      isInTable: false,
      key,
      sizeBytes: stats.occupiedBytes,
      usedAt: stats.modifiedAt,
      claims: 0,
    })
  }

  const holdings = new Map<string, Holding>()
  const holdingOf = (owner: string): Holding | undefined => {
    const known = holdings.get(owner)
    if (known !== undefined) return known
    const parsed = parseOwner(owner)
    if (parsed === undefined) return undefined
    const holding: Holding = { ...parsed, files: 0, entries: new Set<number>(), isPublic: false }
    holdings.set(owner, holding)
    return holding
  }
  let damagedFacts = 0
  for await (const record of fileRecords(layout)) {
    if (record === 'damaged') {
      damagedFacts += 1
      continue
    }
    const holding = holdingOf(record.owner)
    if (holding === undefined) continue
    const number = numbers.get(record.key) ?? numbers.get(partialName(record.key))
    const entry = number === undefined ? undefined : entries[number]
    // An empty file needs no bytes.
    if (entry?.kind === 'blob' || record.sizeBytes === 0) holding.files += 1
    if (number === undefined || entry === undefined || holding.entries.has(number)) continue
    holding.entries.add(number)
    entry.claims += 1
  }
  for await (const fact of walkFacts(layout, 'repos')) {
    const value = fact.kind === 'fact' ? fact.value : undefined
    if (fact.kind === 'damaged') damagedFacts += 1
    else if (typeof value === 'object' && value !== null && 'public' in value && value.public === true) {
      const holding = holdingOf(fact.key)
      if (holding !== undefined) holding.isPublic = true
    }
  }
  for await (const git of walkGit(layout)) {
    const holding = holdingOf(git.owner)
    if (holding !== undefined) holding.git = git
  }
  return { entries, holdings, damagedFacts }
}

/** All files that facts name, one at a time, and `damaged` for each fact that cannot be read. */
export async function* fileRecords(layout: Layout): AsyncGenerator<FileRecord | 'damaged'> {
  for await (const fact of walkFacts(layout, 'files')) {
    const record = fact.kind === 'fact' ? parseFileFact(fact) : 'damaged'
    // `absent` says that a commit has no such path: it is no file, and not damaged.
    if (record !== 'absent') yield record
  }
}

/** The totals over the entries with these numbers. */
export function totalsOf(inventory: Inventory, numbers: Iterable<number>): Totals {
  const sums = { blobs: 0, sizeBytes: 0, sharedBytes: 0, partials: 0, partialBytes: 0 }
  let usedAt: number | undefined
  for (const number of numbers) {
    const entry = inventory.entries[number]
    if (entry === undefined) continue
    usedAt = Math.max(usedAt ?? 0, entry.usedAt)
    if (entry.kind === 'partial') {
      sums.partials += 1
      sums.partialBytes += entry.sizeBytes
      continue
    }
    sums.blobs += 1
    sums.sizeBytes += entry.sizeBytes
    if (entry.claims > 1) sums.sharedBytes += entry.sizeBytes
  }
  return { ...sums, usedAt }
}

/** The space that git repositories take. */
export function gitBytesOf(holdings: Iterable<Holding>): number {
  let sizeBytes = 0
  for (const { git } of holdings) sizeBytes += git?.sizeBytes ?? 0
  return sizeBytes
}

/** The numbers of the entries that no repo claims: bytes of private repos, and bytes whose facts were lost or removed. */
export function* unclaimed(inventory: Inventory): Generator<number> {
  for (const [number, entry] of inventory.entries.entries()) if (entry.claims === 0) yield number
}

// 'https://huggingface.co/ models/org/name' matches; 'models/org/name' and 'x y z' do not.
const OWNER = /^([!-~]+) ((?:models|datasets|spaces|kernels)\/[\w.-]+(?:\/[\w.-]+)?)$/

/** Splits `<origin> <repo>`, with or without RESTRICTED before it: the key of a repo's fact, and the beginning of the keys of its refs and files. */
export function parseOwner(owner: string): { readonly origin: string; readonly repo: string } | undefined {
  const [, origin, repo] =
    OWNER.exec(owner.startsWith(RESTRICTED) ? owner.slice(RESTRICTED.length) : owner) ?? []
  return origin === undefined || repo === undefined ? undefined : { origin, repo }
}

// '<origin> <repo> <40 hex> "path"', as mirror/metadata/fact-store.ts makes it.
const FILE_KEY = /^([!-~]+ [!-~]+) ([0-9a-f]{40}) (".*")$/s

function parseFileFact(fact: Extract<StoredFact, { kind: 'fact' }>): FileRecord | 'absent' | 'damaged' {
  const [, owner, commit, quoted] = FILE_KEY.exec(fact.key) ?? []
  const { value } = fact
  if (owner === undefined || commit === undefined || quoted === undefined) return 'damaged'
  if (typeof value !== 'object' || value === null || parseOwner(owner) === undefined) return 'damaged'
  if ('absent' in value && value.absent === true) return 'absent'
  if (!('key' in value) || typeof value.key !== 'string' || !isBlobKey(value.key)) return 'damaged'
  if (!('sizeBytes' in value) || typeof value.sizeBytes !== 'number' || !(value.sizeBytes >= 0))
    return 'damaged'
  const path = parseText(quoted)
  if (path === undefined) return 'damaged'
  return { owner, commit, path, key: value.key, sizeBytes: value.sizeBytes }
}

function parseText(quoted: string): string | undefined {
  try {
    const text: unknown = JSON.parse(quoted)
    return typeof text === 'string' ? text : undefined
  } catch {
    return undefined
  }
}
