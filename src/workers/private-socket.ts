// The Unix socket on which the main process listens for its workers. Only the user of the mirror may enter its directory.

import { rmdirSync, rmSync } from 'node:fs'
import { chmod, mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { isMissing } from '../store/atomic.ts'

/** Systems allow 104 bytes and more for the path of a Unix socket. */
const LONGEST_PATH = 100

export interface PrivateSocket {
  readonly path: string
  /** Takes all rights to the socket from other users. To be called when the server listens. */
  lock(): Promise<void>
}

/** Makes the directory, with mode 0700. Throws the error of the system. */
export async function makePrivateSocket(): Promise<PrivateSocket> {
  const prefix = 'hubmirror-'
  const room = LONGEST_PATH - `/${prefix}XXXXXX/s`.length
  const directory = await mkdtemp(join(Buffer.byteLength(tmpdir()) <= room ? tmpdir() : '/tmp', prefix))
  const path = join(directory, 's')
  return {
    path,
    lock: () => chmod(path, 0o600),
  }
}

/**
 * Removes the socket and its directory, from any process, also if another process does the same at this moment. It opens
 * no descriptor: a process that has none left must not wait for one here. Throws the error of the system.
 */
export function removePrivateSocket(path: string): void {
  rmSync(path, { force: true })
  try {
    rmdirSync(dirname(path))
  } catch (error) {
    if (!isMissing(error)) throw error
  }
}
