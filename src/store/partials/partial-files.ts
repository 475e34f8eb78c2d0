// Finding what an earlier process left of a blob that was not finished.

import { constants } from 'node:fs'
import { type FileHandle, lstat, open } from 'node:fs/promises'
import path from 'node:path'
import { errorCode, ifThere, isMissing } from '../atomic.ts'
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
