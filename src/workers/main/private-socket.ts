// Where the main process listens for its workers: a socket in a directory of its own, which nobody else may enter.

import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Systems have room for 104 bytes and more. */
const LONGEST_PATH = 100

export interface PrivateSocket {
  readonly path: string
  /** To be called when the socket is there. */
  lock(): Promise<void>
  remove(): Promise<void>
}

/** Makes the directory, with mode 0700. Throws what the system says. */
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
