// The files that settings name: how they are read, and how a change of one is noticed. It knows no setting.

import { closeSync, openSync, readFileSync, readSync, statSync } from 'node:fs'

/** The bound of a settings file, a secret's file or a file of certificates. A larger file cannot be the intended one. */
const FILE_MAX_BYTES = 1_000_000

/** The text of a file or a pipe. Throws as node:fs does, and EFBIG for an endless file such as a device. */
export function readBounded(path: string): string {
  const bytes = Buffer.alloc(FILE_MAX_BYTES + 1)
  const file = openSync(path, 'r')
  let length = 0
  try {
    for (let read = -1; read !== 0 && length < bytes.length; length += read)
      read = readSync(file, bytes, length, bytes.length - length, null)
  } finally {
    closeSync(file)
  }
  if (length > FILE_MAX_BYTES) throw Object.assign(new Error('the file is too large'), { code: 'EFBIG' })
  return bytes.toString('utf8', 0, length)
}

/**
 * Reads a file while the mirror runs. It must not be empty, and it must be a regular file, because reading a pipe would
 * block the process. Throws as node:fs does.
 */
export function readRegularFile(path: string): string {
  const stats = statSync(path)
  if (!stats.isFile()) throw Object.assign(new Error('not a regular file'), { code: 'not a regular file' })
  // An editor that writes in place empties the file first. An empty settings file would remove all rules.
  if (stats.size === 0) throw Object.assign(new Error('the file is empty'), { code: 'it is empty' })
  if (stats.size > FILE_MAX_BYTES) throw Object.assign(new Error('the file is too large'), { code: 'EFBIG' })
  return readFileSync(path, 'utf8')
}

/**
 * A text that changes whenever the file changes, also when another file takes its name or a symbolic link on the way points
 * elsewhere. Returns undefined while the file is missing, is no regular file, or is too large. Never throws.
 */
export function stampOf(path: string): string | undefined {
  try {
    const stats = statSync(path)
    const { ino, mtimeMs, ctimeMs, size } = stats
    // If a pipe has replaced the file, reading it would block all requests.
    return !stats.isFile() || size > FILE_MAX_BYTES ? undefined : `${ino} ${mtimeMs} ${ctimeMs} ${size}`
  } catch {
    return undefined
  }
}
