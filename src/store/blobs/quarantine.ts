// Moves damaged files to `quarantine/`: out of the way of readers, and in reach of an operator who wants to know what
// happened to them. Only the newest eight are kept. Who found the damage, and why, is not known here.

import { lstat, readdir, rename, rm, utimes } from 'node:fs/promises'
import path from 'node:path'
import { isMissing, makeDirectory, unlinkIfThere, writeAtomic } from '../atomic.ts'
import type { BlobKey } from '../digest.ts'
import { keyFileName, type Layout } from '../layout.ts'
import { readBlockMap } from '../partials/block-map.ts'

/** Enough to see a pattern. More would fill the disk with bytes that are of no use. */
export const QUARANTINED_MAX = 8

/**
 * Moves the blob of `key` to quarantine, so that the next request fetches it again. Open handles read on. `replaced` when
 * the name is gone, or belongs to a file with another inode. Rejects when the disk refuses the move.
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

/**
 * Writes the damaged bytes of a small blob to quarantine. The caller removes them from the table. Rejects with the error of the
 * disk.
 */
export async function quarantineBytes(layout: Layout, key: BlobKey, bytes: Buffer): Promise<void> {
  const name = keyFileName(key)
  const file = path.join(layout.tmp, name)
  await writeAtomic(layout.tmp, file, bytes, { durable: false })
  await moveToQuarantine(layout, file, name)
}

/** Moves a file or directory of the store to quarantine under `name`, and removes all but the newest eight there. */
export async function moveToQuarantine(layout: Layout, source: string, name: string): Promise<void> {
  const target = path.join(layout.quarantine, name)
  await makeDirectory(layout.quarantine)
  // An earlier one of this name may be a directory, which a file cannot replace.
  await rm(target, { recursive: true, force: true })
  await rename(source, target)
  // From now on its time says when it was quarantined. If this fails, only the order of removal is wrong.
  const now = Date.now() / 1000
  await utimes(target, now, now).catch(() => undefined)
  // What cannot be removed now is removed the next time.
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
 * Removes the block map of a partial if it still cannot be read: the data beside it then counts as litter, and the next
 * download begins from the start. False when the map is sound or gone by now. A download under way writes a new map.
 */
export async function removeBlockMap(layout: Layout, key: BlobKey, sizeBytes: number): Promise<boolean> {
  const file = path.join(layout.partial(key), 'blocks')
  // Maps are replaced atomically, so this second read sees the map as it was before, or a better one.
  if ((await readBlockMap(file, sizeBytes)) !== undefined) return false
  return unlinkIfThere(file)
}
