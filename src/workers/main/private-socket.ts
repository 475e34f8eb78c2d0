// The Unix socket on which the main process listens for its workers. Only the user of the mirror may enter its directory.

import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Systems allow 104 bytes and more for the path of a Unix socket. */
const LONGEST_PATH = 100

export interface PrivateSocket {
  readonly path: string
  /** Takes all rights to the socket from other users. To be called when the server listens. */
  lock(): Promise<void>
  remove(): Promise<void>
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
    remove: () => rm(directory, { recursive: true, force: true }),
  }
}
