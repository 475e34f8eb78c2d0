// A random key per run, for digests of secrets that are meaningless outside of the run. All processes of one mirror share
// the key.

import { createHmac, randomBytes } from 'node:crypto'

let key = randomBytes(32)

/** The key. It may be given only to the other processes of this mirror. */
export function runKey(): Buffer {
  return key
}

/** Sets the key of the main process in another process. It must be called before the first digest. */
export function setRunKey(given: Uint8Array): void {
  key = Buffer.from(given)
}

/** The digest of a secret under the key. Digests of the same secret for two purposes are unrelated. */
export function keyedDigest(purpose: string, secret: string): Buffer {
  return createHmac('sha256', key).update(`${purpose}\0`).update(secret).digest()
}
