// Which blobs pins keep: those of the present commits of all pins, then those of earlier commits, each by priority, until
// they take all that blobs may have. Pure.

import { isGlob, type Pin, type PinsFile, parsePinId, pinId, pinPart } from '../config/pins-file.ts'
import { pathFilter } from '../hub/file-patterns.ts'
import { repoKey } from '../hub/names.ts'
import type { BlobKey } from '../store/digest.ts'
import type { PinnedCommit, PinnedCommits, PinnedFile } from '../store/pinned-commits.ts'
import { FACTS_SHARE } from '../store/store.ts'

/** A revision of a pin, and the commits that are kept of it, the newest first. */
export interface PinnedRevision {
  readonly revision: string
  readonly commits: readonly PinnedCommit[]
}

export interface Claims {
  readonly keys: Set<BlobKey>
  sizeBytes: number
}

/** The commits that are known of revisions, the newest first, by `pinPart` and then by revision. */
export type KnownCommits = Map<string, Map<string, readonly PinnedCommit[]>>
type Known = ReadonlyMap<string, ReadonlyMap<string, readonly PinnedCommit[]>>

/** Sorts what is known by pins, in one pass: each pin then finds its own without a look at those of all others. */
export function byPin(pinned: PinnedCommits): KnownCommits {
  const found: KnownCommits = new Map()
  for (const [id, commits] of pinned) {
    const parsed = parsePinId(id)
    if (parsed === undefined) continue
    const ofPin = found.get(parsed.pin) ?? new Map<string, readonly PinnedCommit[]>()
    found.set(parsed.pin, ofPin.set(parsed.revision, commits))
  }
  return found
}

/** The revisions of a pin of which commits are known, by name. Only as many commits are in them as are to be kept. */
export function revisionsOf(pin: Pin, known: Known): readonly PinnedRevision[] {
  const all = known.get(pinPart(pin))
  if (all === undefined) return []
  const isNamed = namesOf(pin)
  return [...all]
    .filter(([revision]) => isNamed(revision))
    .map(([revision, commits]) => ({ revision, commits: commits.slice(0, pin.keep + 1) }))
    .toSorted((a, b) => (a.revision < b.revision ? -1 : 1))
}

/** A test whether a pin means a branch or tag of a name. */
export function namesOf(pin: Pin): (revision: string) => boolean {
  const globs = pin.revisions.filter(isGlob)
  const isMeant = globs.length === 0 ? () => false : pathFilter(globs, [])
  const plain = new Set(pin.revisions)
  return (revision) => plain.has(revision) || isMeant(revision)
}

/**
 * Adds up what is kept. `limitBytes` is that of the store, undefined if it has none. What facts may take is left, so that the store
 * stays below its limit.
 */
export function claim({ pins }: PinsFile, known: Known, limitBytes: number | undefined): Claims {
  const claims = { keys: new Set<BlobKey>(), sizeBytes: 0 }
  const revisions = pins.flatMap((pin) => revisionsOf(pin, known))
  for (const { commits } of revisions) claimMore(claims, commits[0]?.files ?? [], limitBytes)
  for (const { commits } of revisions)
    for (const { files } of commits.slice(1)) claimMore(claims, files, limitBytes)
  return claims
}

/** Adds files to what is kept, as far as they fit. Returns those that were added, and whether that is all of them. */
export function claimMore(
  claims: Claims,
  files: readonly PinnedFile[],
  limitBytes: number | undefined,
): { readonly added: readonly BlobKey[]; readonly fits: boolean } {
  const mayTakeBytes = limitBytes === undefined ? Number.POSITIVE_INFINITY : limitBytes * (1 - FACTS_SHARE)
  const added: BlobKey[] = []
  let fits = true
  for (const { key, sizeBytes } of files) {
    if (claims.keys.has(key)) continue
    if (claims.sizeBytes + sizeBytes > mayTakeBytes) {
      fits = false
      continue
    }
    claims.keys.add(key)
    claims.sizeBytes += sizeBytes
    added.push(key)
  }
  return { added, fits }
}

/** The revisions that are still pinned by a file, with as many commits as it keeps. */
export function stillPinned({ pins }: PinsFile, known: Known): PinnedCommits {
  const left = new Map<string, readonly PinnedCommit[]>()
  for (const pin of pins)
    for (const { revision, commits } of revisionsOf(pin, known)) left.set(pinId(pin, revision), commits)
  return left
}

/** A text for one pin, for logs and reports: `models/org/name@main,v*`. */
export function pinName({ repo, revisions }: Pick<Pin, 'repo' | 'revisions'>): string {
  return `${repoKey(repo)}@${revisions.join(',')}`
}
