// Where damaged bytes go: out of the way of readers, in reach of whoever wants to know what happened to them. It does
// not know who found them, nor why they are damaged.

import { lstat, readdir, rename, rm, utimes } from 'node:fs/promises'
import path from 'node:path'
import { isMissing, makeDirectory, unlinkIfThere } from '../atomic.ts'
import type { BlobKey } from '../digest.ts'
import { keyFileName, type Layout } from '../layout.ts'
import { readBlockMap } from '../partials/block-map.ts'

/** Enough to see a pattern; more would fill the disk with bytes that nobody can use. */
export const QUARANTINED_MAX = 8

/**
 * Moves the blob of `key` into quarantine, so that the next request fetches it again; who has it open reads on.
 * `replaced` when the file at its place is not the one with inode `inode`. Throws when the disk will not have it moved.
 */
export async function quarantineBlob(
  layout: Layout,
  key: BlobKey,
  inode: number,
): Promise<'quarantined' | 'replaced'> {
  const source = layout.blob(key)
  try {
    if ((await lstat(source)).ino !== inode) return 'replaced'
    await moveToQuarantine(layout, source, keyFileName(key))
    await unlinkIfThere(layout.sums(key)).catch(() => undefined)
  } catch (error) {
    if (isMissing(error)) return 'replaced'
    throw error
  }
  return 'quarantined'
}

/** Moves a file or folder of the store into quarantine under `name`, and removes the oldest there. */
export async function moveToQuarantine(layout: Layout, source: string, name: string): Promise<void> {
  const target = path.join(layout.quarantine, name)
  await makeDirectory(layout.quarantine)
  // An earlier one of this name may be a folder, which a file cannot replace.
  await rm(target, { recursive: true, force: true })
  await rename(source, target)
  // From now on the time says when it came here. That it may be wrong costs an order of removal.
  const now = Date.now() / 1000
  await utimes(target, now, now).catch(() => undefined)
  // Litter left for the next one.
  await keepNewest(layout.quarantine).catch(() => undefined)
}

async function keepNewest(directory: string): Promise<void> {
  const names = await readdir(directory)
  if (names.length <= QUARANTINED_MAX) return
  const dated = await Promise.all(
    names.map(async (name) => {
      const file = path.join(directory, name)
      const changedAt = await lstat(file).then(
        (stats) => stats.mtimeMs,
        () => 0,
      )
      return { file, changedAt }
    }),
  )
  dated.sort((a, b) => b.changedAt - a.changedAt)
  for (const { file } of dated.slice(QUARANTINED_MAX)) await rm(file, { recursive: true, force: true })
}

/**
 * Takes away the block map of a partial when it still cannot be read: the data beside it then counts as litter, and
 * the next pull begins anew. False when it is sound or gone by now. A pull under way writes a new map by itself.
 */
export async function removeBlockMap(layout: Layout, key: BlobKey, sizeBytes: number): Promise<boolean> {
  const file = path.join(layout.partial(key), 'blocks')
  // Maps are replaced whole, so a second look sees either what was there before or a better one.
  if ((await readBlockMap(file, sizeBytes)) !== undefined) return false
  return unlinkIfThere(file)
}
