// Finds what an earlier process left of a partial. A map or data file that does not fit the other counts as nothing.

import { constants } from 'node:fs'
import { type FileHandle, lstat, open } from 'node:fs/promises'
import path from 'node:path'
import { errorCode, ifThere, isMissing } from '../atomic.ts'
import { readBlockMap } from './block-map.ts'
import type { BlockMap } from './blocks.ts'

const OPEN_DATA = constants.O_RDWR | constants.O_NOFOLLOW

/**
 * Opens what an earlier process left, if map and data both exist and are for a file of this size. The caller closes the
 * handle. Undefined otherwise; links are not followed. Rejects with any other error of the disk.
 */
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
