// The place of the control socket, by which commands reach the process that has the store open. Only the owner of the store
// may enter its folder, and only a process that holds the lock makes it, so a socket that is found in its place is that of
// the holder, or the rest of one that was killed. This file opens no connection.

import { chmod, lstat, rm } from 'node:fs/promises'
import path from 'node:path'
import { errorCode, ifThere, makeDirectory } from './atomic.ts'
import { createLayout } from './layout.ts'
import { mirrorUser } from './replace.ts'

/** The longest path of a Unix socket in bytes, without the NUL at its end: 108 with it on Linux, 104 elsewhere. */
const LONGEST_PATH_BYTES = process.platform === 'linux' ? 107 : 103

/** There can be no control socket, or it must not be used. The message says why and what to do. */
export class UnusableControlSocket extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'UnusableControlSocket'
  }
}

/**
 * Makes the folder of the control socket, and removes a socket that a killed process has left. Resolves with the path at
 * which to listen. The caller holds the lock of the store. Rejects with UnusableControlSocket if the path is too long, and
 * with the error of the disk.
 */
export async function prepareControlSocket(cacheDir: string): Promise<string> {
  const { folder, socket, bytes } = placeOf(cacheDir)
  if (bytes > LONGEST_PATH_BYTES)
    throw new UnusableControlSocket(
      `The path of the control socket has ${bytes} bytes (${socket}), and the system allows ${LONGEST_PATH_BYTES}. ` +
        'Choose a shorter HUBMIRROR_CACHE_DIR; it may be a symbolic link to the directory.',
    )
  await makeDirectory(folder)
  // The folder may have been copied with other rights.
  await chmod(folder, 0o700)
  await rm(socket, { force: true })
  return socket
}

/** Takes all rights to the socket from other users. To be called when the server listens. */
export function lockControlSocket(socket: string): Promise<void> {
  return chmod(socket, 0o600)
}

/**
 * The path of the control socket, if there is one; the process behind it may have ended. Rejects with
 * UnusableControlSocket if this user may not use it, or if another user could have put it there.
 */
export async function findControlSocket(cacheDir: string): Promise<string | undefined> {
  const { folder, socket, bytes } = placeOf(cacheDir)
  // No process can listen there.
  if (bytes > LONGEST_PATH_BYTES) return undefined
  try {
    const stats = await ifThere(lstat(folder))
    if (stats === undefined) return undefined
    const owner = await mirrorUser(cacheDir)
    const trusted = [process.geteuid?.(), owner?.uid, 0]
    if (!stats.isDirectory() || (stats.mode & 0o077) !== 0 || !trusted.includes(stats.uid))
      throw new UnusableControlSocket(
        `${folder} must be a folder that only the user of the mirror may enter (mode 0700). Remove it, and start the mirror again.`,
      )
    return (await ifThere(lstat(socket))) && socket
  } catch (error) {
    if (errorCode(error) !== 'EACCES') throw error
    throw new UnusableControlSocket(
      `${folder} can be entered by the user of the mirror only. Run this command as that user, or as root.`,
    )
  }
}

function placeOf(cacheDir: string) {
  const { control: folder } = createLayout(cacheDir)
  const socket = path.join(folder, 'socket')
  return { folder, socket, bytes: Buffer.byteLength(socket) }
}
