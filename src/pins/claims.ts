// Which blobs pins keep: those of the present commits of all pins, then those of earlier commits, each by priority, until
// they take all that blobs may have. Pure.

import { isGlob, type Pin, type PinsFile, pinId } from '../config/pins-file.ts'
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
  readonly keys: ReadonlySet<BlobKey>
  readonly sizeBytes: number
}

/** The revisions of a pin of which commits are known, by name. Only as many commits are in them as are to be kept. */
export function revisionsOf(pin: Pin, pinned: PinnedCommits): readonly PinnedRevision[] {
  const found: PinnedRevision[] = []
  for (const [id, commits] of pinned) {
    const revision = revisionIn(id)
    if (revision === undefined || id !== pinId(pin, revision) || !names(pin, revision)) continue
    found.push({ revision, commits: commits.slice(0, pin.keep + 1) })
  }
  return found.toSorted((a, b) => (a.revision < b.revision ? -1 : 1))
}

/** Whether a pin means a branch or tag of this name. */
export function names(pin: Pin, revision: string): boolean {
  return pin.revisions.some((one) => one === revision || (isGlob(one) && pathFilter([one], [])(revision)))
}

/**
 * Adds up what is kept. `limitBytes` is that of the store, undefined if it has none. What facts may take is left, so that the store
 * stays below its limit.
 */
export function claim({ pins }: PinsFile, pinned: PinnedCommits, limitBytes: number | undefined): Claims {
  const mayTakeBytes = limitBytes === undefined ? Number.POSITIVE_INFINITY : limitBytes * (1 - FACTS_SHARE)
  const keys = new Set<BlobKey>()
  let sizeBytes = 0
  const take = (file: PinnedFile): void => {
    if (keys.has(file.key) || sizeBytes + file.sizeBytes > mayTakeBytes) return
    keys.add(file.key)
    sizeBytes += file.sizeBytes
  }
  const revisions = pins.flatMap((pin) => revisionsOf(pin, pinned))
  for (const { commits } of revisions) for (const file of commits[0]?.files ?? []) take(file)
  for (const { commits } of revisions)
    for (const { files } of commits.slice(1)) for (const file of files) take(file)
  return { keys, sizeBytes }
}

/** The revisions that are still pinned by a file, with as many commits as it keeps. */
export function stillPinned({ pins }: PinsFile, pinned: PinnedCommits): PinnedCommits {
  const left = new Map<string, readonly PinnedCommit[]>()
  for (const pin of pins)
    for (const { revision, commits } of revisionsOf(pin, pinned)) left.set(pinId(pin, revision), commits)
  return left
}

/** A text for one pin, for logs and reports: `models/org/name@main,v*`. */
export function pinName({ repo, revisions }: Pick<Pin, 'repo' | 'revisions'>): string {
  return `${repoKey(repo)}@${revisions.join(',')}`
}

function revisionIn(id: string): string | undefined {
  try {
    const parsed: unknown = JSON.parse(id)
    const revision: unknown = Array.isArray(parsed) ? parsed[1] : undefined
    return typeof revision === 'string' ? revision : undefined
  } catch {
    return undefined
  }
}
