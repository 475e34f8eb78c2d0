// Replaces files that a running mirror reads, for commands that may run as another user than the mirror. Either the mirror
// can read the new file, or the command fails and changes nothing.

import { randomBytes } from 'node:crypto'
import type { FileHandle } from 'node:fs/promises'
import { readlink, stat, unlink } from 'node:fs/promises'
import path from 'node:path'
import { createIn, errorCode, ifThere, renameInto, writeAll } from './atomic.ts'
import { createLayout } from './layout.ts'

/** A user of the operating system, with its main group. */
export interface User {
  readonly uid: number
  readonly gid: number
}

/**
 * The user that a mirror on this cache directory runs as: the owner of its FORMAT file, or else of the directory. Undefined
 * when neither exists.
 */
export async function mirrorUser(cacheDir: string): Promise<User | undefined> {
  const { format, root } = createLayout(cacheDir)
  const stats = (await ifThere(stat(format))) ?? (await ifThere(stat(root)))
  return stats && { uid: stats.uid, gid: stats.gid }
}

const MAX_LINKS = 40

/** The file to which symbolic links lead from `file`; it need not exist. Rejects when the links form a loop. */
export async function followLinks(file: string): Promise<string> {
  let at = file
  for (let links = 0; links <= MAX_LINKS; links += 1) {
    const target = await readlink(at).catch((error: unknown) => {
      // It is not a link, or does not exist.
      if (['EINVAL', 'ENOENT', 'ENOTDIR'].includes(errorCode(error) ?? '')) return undefined
      throw error
    })
    if (target === undefined) return at
    at = path.resolve(path.dirname(at), target)
  }
  throw new Error('its symbolic links form a loop')
}

/**
 * Replaces the content of `file` by `text`, atomically and durably. An existing file keeps its owner, group and mode. A new
 * file can be read by `reader` alone, or by the user of this process when `reader` is undefined. Rejects and changes nothing
 * when `reader` could not read the result, when the owner cannot be set, or when the file has other hard links.
 */
export async function replaceFile(file: string, text: string, reader: User | undefined): Promise<void> {
  const before = await ifThere(stat(file))
  if (before !== undefined && before.nlink > 1)
    throw new Error(
      `it has ${before.nlink} names (hard links), and only this one would change; remove the others`,
    )
  const own = { uid: process.geteuid?.() ?? -1, gid: process.getegid?.() ?? -1 }
  const owner = before ?? (own.uid === 0 ? reader : undefined) ?? own
  const mode = before === undefined ? 0o600 : before.mode & 0o777
  if (reader !== undefined && !mayRead(reader, { ...owner, mode }))
    throw new Error(
      `the mirror runs as user ${reader.uid} and could not read it: it would belong to user ${owner.uid}, mode ${mode.toString(8)}. ` +
        (before === undefined
          ? `Run this command as user ${reader.uid} or as root`
          : `Change its owner to that user (chown ${reader.uid} ${file})`),
    )
  const directory = path.dirname(file)
  const temporary = path.join(directory, randomBytes(12).toString('hex'))
  try {
    const handle = await createIn(directory, temporary)
    try {
      const bytes = Buffer.from(text)
      await writeAll(handle, [bytes], 0, bytes.byteLength)
      await give(handle, owner)
      await handle.chmod(mode)
      await handle.datasync()
    } finally {
      await handle.close()
    }
    await renameInto(temporary, file, { durable: true })
  } catch (error) {
    await unlink(temporary).catch(() => undefined)
    throw error
  }
}

async function give(handle: FileHandle, owner: User): Promise<void> {
  const { uid, gid } = await handle.stat()
  if (uid === owner.uid && gid === owner.gid) return
  try {
    await handle.chown(owner.uid, owner.gid)
  } catch (error) {
    throw new Error(
      `it belongs to user ${owner.uid} and group ${owner.gid}, and you cannot create a file with that owner. Run this command as that user, or as root`,
      { cause: error },
    )
  }
}

/** Whether the user can read such a file. Its supplementary groups are unknown, so any group with read permission counts. */
function mayRead(reader: User, { uid, mode }: User & { readonly mode: number }): boolean {
  if (reader.uid === 0) return true
  return reader.uid === uid ? (mode & 0o400) !== 0 : (mode & 0o044) !== 0
}
