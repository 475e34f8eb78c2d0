// The steps of partial.ts that need nothing of its state: finding what an earlier process left, writing all of a
// list of chunks.

import { constants } from 'node:fs'
import { type FileHandle, lstat, open } from 'node:fs/promises'
import path from 'node:path'
import { errorCode, ifThere, isMissing } from './atomic.ts'
import { readBlockMap } from './block-map.ts'
import type { BlockMap } from './blocks.ts'

const OPEN_DATA = constants.O_RDWR | constants.O_NOFOLLOW

/** What an earlier process left, if the map and the data are both there and of this size. The caller closes it. */
export async function resume(
  directory: string,
  sizeBytes: number,
): Promise<{ readonly handle: FileHandle; readonly map: BlockMap } | undefined> {
  const kind = await ifThere(lstat(directory))
  if (kind === undefined || !kind.isDirectory()) return undefined
  const map = await readBlockMap(path.join(directory, 'blocks'), sizeBytes)
  if (map === undefined) return undefined
  let handle: FileHandle
  try {
    handle = await open(path.join(directory, 'data'), OPEN_DATA)
  } catch (error) {
    if (isMissing(error) || errorCode(error) === 'ELOOP' || errorCode(error) === 'EACCES') return undefined
    throw error
  }
  try {
    const stats = await handle.stat()
    if (stats.isFile() && stats.size === sizeBytes) return { handle, map }
  } catch (error) {
    await handle.close()
    throw error
  }
  await handle.close()
  return undefined
}

/** Writes all of `chunks`, `length` bytes together, or throws. */
export async function writeAll(
  handle: FileHandle,
  chunks: readonly Uint8Array[],
  position: number,
  length: number,
): Promise<void> {
  const { bytesWritten } = await handle.writev([...chunks], position)
  if (bytesWritten === length) return
  // A short write is legal and rare (a nearly full disk); the rest either goes or says why not.
  let rest = Buffer.concat(chunks).subarray(bytesWritten)
  let at = position + bytesWritten
  while (rest.length > 0) {
    const written = (await handle.write(rest, 0, rest.length, at)).bytesWritten
    if (written === 0) throw new Error('the disk takes no more bytes and does not say why')
    rest = rest.subarray(written)
    at += written
  }
}
