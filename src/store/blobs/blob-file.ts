// The file of a finished blob, opened for reading: never by way of a link, and only with the length it must have.

import { constants, type Stats } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { errorCode, isMissing } from '../atomic.ts'

/** Blobs up to this size are written and read whole, held against their digest, and kept in memory. */
export const SMALL_BYTES = 64 * 1024

const OPEN_BLOB = constants.O_RDONLY | constants.O_NOFOLLOW

/** The open file; `missing` where there is none, `damaged` where it cannot be what was stored. */
export async function openBlobFile(
  file: string,
  sizeBytes: number,
): Promise<{ readonly handle: FileHandle; readonly stats: Stats } | 'missing' | 'damaged'> {
  let handle: FileHandle
  try {
    handle = await open(file, OPEN_BLOB)
  } catch (error) {
    if (isMissing(error)) return 'missing'
    // A link is nothing that was ever stored here.
    if (errorCode(error) === 'ELOOP') return 'damaged'
    throw error
  }
  try {
    const stats = await handle.stat()
    if (stats.size === sizeBytes) return { handle, stats }
  } catch (error) {
    await handle.close()
    throw error
  }
  await handle.close()
  return 'damaged'
}
