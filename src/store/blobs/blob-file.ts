// Opens the file of a finished blob for reading: never through a symbolic link, and only if its length is right.
// Whether its bytes are right is checked elsewhere (checked-reads.ts, scrub.ts). Workers open blobs by this file, too.

import { close, constants, open as openFile, read, type Stats } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { errorCode, isMissing } from '../atomic.ts'

/** Blobs up to this size are written and read whole, verified against their digest at each read, and cached in memory. */
export const SMALL_BYTES = 64 * 1024

// Without O_NONBLOCK, a FIFO in the place of a blob would hold a thread until some process writes to it.
const OPEN_BLOB = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK

/** What a read of a folder or of a FIFO says. */
const NO_FILE: ReadonlySet<string> = new Set(['EISDIR', 'EAGAIN'])

/**
 * Opens a blob file, which the caller closes. `missing`: there is no file. `damaged`: it is a link or has another length,
 * so it is not what was stored. Rejects with any other error of the disk.
 */
export async function openBlobFile(
  file: string,
  sizeBytes: number,
): Promise<{ readonly handle: FileHandle; readonly stats: Stats } | 'missing' | 'damaged'> {
  let handle: FileHandle
  try {
    handle = await open(file, OPEN_BLOB)
  } catch (error) {
    if (isMissing(error)) return 'missing'
    // The store makes no links.
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

/**
 * Reads a small blob file whole, with one turn of the thread pool to open and one to read it. `missing` and `damaged` are as
 * in `openBlobFile`: a file of another length shows when one byte more is asked for. The bytes are not compared with a
 * digest here. Rejects with any other error of the disk.
 */
export function readBlobFile(file: string, sizeBytes: number): Promise<Buffer | 'missing' | 'damaged'> {
  return new Promise((resolve, reject) => {
    openFile(file, OPEN_BLOB, (failure, descriptor) => {
      if (failure !== null) {
        if (isMissing(failure)) resolve('missing')
        else if (errorCode(failure) === 'ELOOP') resolve('damaged')
        else reject(failure)
        return
      }
      const bytes = Buffer.allocUnsafeSlow(sizeBytes + 1)
      read(descriptor, bytes, 0, bytes.length, null, (error, length) => {
        // No caller waits for it: a file that was only read has nothing to lose.
        close(descriptor, () => undefined)
        if (error === null) resolve(length === sizeBytes ? bytes.subarray(0, length) : 'damaged')
        else if (NO_FILE.has(errorCode(error) ?? '')) resolve('damaged')
        else reject(error)
      })
    })
  })
}
