// The file operations on which the store builds: a file appears whole or not at all. It is written under another name,
// renamed, and its directory is synced. The caller decides what must be durable.

import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, mkdir, open, rename, stat, unlink } from 'node:fs/promises'
import path from 'node:path'

const NO_DIRECTORY_SYNC: ReadonlySet<string> = new Set(['EINVAL', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'])

/**
 * Makes the entries of a directory durable: a rename is durable only once this has resolved. Some network volumes refuse
 * fsync(2) of a directory with EINVAL. On those a power cut can undo a rename: the file is missing then, never torn.
 */
export async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, constants.O_RDONLY | constants.O_DIRECTORY)
  try {
    await handle.sync()
  } catch (error) {
    if (!NO_DIRECTORY_SYNC.has(errorCode(error) ?? '')) throw error
  } finally {
    await handle.close()
  }
}

/**
 * Writes `target` so that a reader sees the old content or the new, never a mixture. With `durable`, bytes and name survive
 * a power cut; without it, only a crash of the process. `mode` defaults to 0600. Rejects with the error of the disk, and
 * `target` is unchanged then, unless only the sync of its directory failed.
 */
export async function writeAtomic(
  tmpDirectory: string,
  target: string,
  content: Uint8Array | string | readonly Uint8Array[],
  options: { readonly durable: boolean; readonly mode?: number },
): Promise<void> {
  const temporary = path.join(tmpDirectory, randomBytes(12).toString('hex'))
  try {
    const handle = await createIn(tmpDirectory, temporary, options.mode)
    try {
      const chunks = chunksOf(content)
      await writeAll(handle, chunks, 0, sizeOf(chunks))
      if (options.durable) await handle.datasync()
    } finally {
      await handle.close()
    }
    await renameInto(temporary, target, options)
  } catch (error) {
    await unlink(temporary).catch(() => {
      // A file left in tmp/ is harmless: the directory is emptied at the next start.
    })
    throw error
  }
}

function chunksOf(content: Uint8Array | string | readonly Uint8Array[]): readonly Uint8Array[] {
  if (typeof content === 'string') return [Buffer.from(content)]
  return content instanceof Uint8Array ? [content] : content
}

function sizeOf(chunks: readonly Uint8Array[]): number {
  return chunks.reduce((sum, chunk) => sum + chunk.byteLength, 0)
}

/** Writes all of `chunks`, `length` bytes in total. Rejects with the error of the disk. */
export async function writeAll(
  handle: FileHandle,
  chunks: readonly Uint8Array[],
  position: number,
  length: number,
): Promise<void> {
  const { bytesWritten } = await handle.writev([...chunks], position)
  if (bytesWritten === length) return
  // A short write is legal and rare (a nearly full disk). Writing the rest either succeeds or returns the error.
  let rest = Buffer.concat(chunks).subarray(bytesWritten)
  let at = position + bytesWritten
  while (rest.length > 0) {
    const written = (await handle.write(rest, 0, rest.length, at)).bytesWritten
    if (written === 0) throw new Error('the disk accepts no more bytes and gives no reason')
    rest = rest.subarray(written)
    at += written
  }
}

/**
 * Creates `file` in `directory` for writing; the file must not exist. Makes the directory if it is missing: it may have been
 * removed under a running mirror. The caller closes the handle.
 */
export async function createIn(directory: string, file: string, mode = 0o600): Promise<FileHandle> {
  const flags = constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY | constants.O_NOFOLLOW
  try {
    return await open(file, flags, mode)
  } catch (error) {
    if (!isMissing(error)) throw error
    await makeDirectory(directory)
    return open(file, flags, mode)
  }
}

/**
 * Makes a directory and its missing parents, with mode 0700 by default. Returns the uppermost directory that it made; undefined when
 * all existed. Node's `recursive` option is not used: it retries without end where the system answers mkdir with ENOENT
 * (/proc).
 */
export async function makeDirectory(directory: string, mode = 0o700): Promise<string | undefined> {
  try {
    return await makeOne(directory, mode)
  } catch (error) {
    const above = path.dirname(directory)
    if (errorCode(error) !== 'ENOENT' || above === directory) throw error
    const uppermost = await makeDirectory(above, mode)
    const own = await makeOne(directory, mode)
    return uppermost ?? own
  }
}

/** Makes one directory. Returns undefined when it existed. */
async function makeOne(directory: string, mode: number): Promise<string | undefined> {
  try {
    await mkdir(directory, { mode })
    return directory
  } catch (error) {
    if (errorCode(error) === 'EEXIST' && (await stat(directory)).isDirectory()) return undefined
    throw error
  }
}

/** Renames, and makes the directory of the target if it is missing. With `durable` the new name survives a power cut. */
export async function renameInto(
  from: string,
  target: string,
  options: { readonly durable: boolean },
): Promise<void> {
  const directory = path.dirname(target)
  let made: string | undefined
  try {
    await rename(from, target)
  } catch (error) {
    if (!isMissing(error)) throw error
    made = await makeDirectory(directory)
    await rename(from, target)
  }
  if (!options.durable) return
  await syncDirectory(directory)
  if (made === undefined) return
  // Each directory that was made is an entry of the one above, which must be synced, too.
  const top = path.dirname(made)
  for (let above = path.dirname(directory); above.length >= top.length; above = path.dirname(above)) {
    await syncDirectory(above)
    if (above === top) return
  }
}

/** Removes a file. Resolves with whether it existed. */
export async function unlinkIfThere(file: string): Promise<boolean> {
  return (await ifThere(unlink(file).then(() => true))) ?? false
}

/** The result of a call to the file system; undefined when there is no such file. */
export async function ifThere<T>(call: Promise<T>): Promise<T | undefined> {
  try {
    return await call
  } catch (error) {
    if (isMissing(error)) return undefined
    throw error
  }
}

/** The error code of a failed file-system call, such as ENOENT. */
export function errorCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}

/** Whether the call failed because there is no such file. */
export function isMissing(error: unknown): boolean {
  const code = errorCode(error)
  return code === 'ENOENT' || code === 'ENOTDIR'
}
