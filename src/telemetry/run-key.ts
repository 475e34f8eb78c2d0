// A key that is made anew with every run, for names of secrets that mean nothing outside of it. All processes of one
// mirror have the same.

import { createHmac, randomBytes } from 'node:crypto'

let key = randomBytes(32)

/** For the other processes of this mirror, and for nobody else. */
export function runKey(): Buffer {
  return key
}

/** Takes the key of the main process. Before anything is named. */
export function setRunKey(given: Uint8Array): void {
  key = Buffer.from(given)
}

/** A name for `secret`; a name for one purpose tells nothing of that for another. */
export function keyedDigest(purpose: string, secret: string): Buffer {
  return createHmac('sha256', key).update(`${purpose}\0`).update(secret).digest()
}
