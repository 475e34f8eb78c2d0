// What is said of a blob that was found damaged, by whichever check has found it.

import type { BlobKey } from './digest.ts'

/** A blob whose bytes are not what its name or its facts say. */
export interface Damage {
  readonly key: BlobKey
  readonly sizeBytes: number
  /**
   * - `digest`: all bytes were read, and their digest is not the one in the key.
   * - `length`: the file is not as long as the facts say. Only an `opaque:` blob is checked for this.
   * - `block`: a block does not have the checksum that was stored for it.
   * - `unreadable`: the disk reports EIO.
   */
  readonly reason: 'digest' | 'length' | 'block' | 'unreadable'
  /**
   * Where the bytes are now.
   * - `quarantined`: moved to `quarantine/`.
   * - `in-place`: still under their name, because they could not be moved.
   * - `replaced`: the name is gone or belongs to another file, so nothing was moved.
   */
  readonly place: 'quarantined' | 'in-place' | 'replaced'
}
