// Streams of bytes on their way to one client.

import { MirrorError } from '../errors.ts'
import type { Verifier } from '../store/digest.ts'
import type { Observer } from '../telemetry/observer.ts'

/** All but the first `count` bytes. */
export async function* skip(
  bytes: AsyncIterable<Buffer>,
  count: number,
): AsyncGenerator<Buffer, void, undefined> {
  let left = count
  for await (const chunk of bytes) {
    if (chunk.length > left) yield chunk.subarray(left)
    left = Math.max(0, left - chunk.length)
  }
}

/** Passes chunks on with a delay of one. The last chunk follows only if the digest of all bytes is right. */
export async function* verified(
  bytes: AsyncIterable<Buffer>,
  verifier: Verifier,
  observer: Observer,
): AsyncGenerator<Buffer, void, undefined> {
  let held: Buffer | undefined
  for await (const chunk of bytes) {
    verifier.update(chunk)
    if (held !== undefined) yield held
    held = chunk
  }
  if (!verifier.matches()) {
    observer.integrityFailure('digest')
    throw new MirrorError('integrity_mismatch')
  }
  if (held !== undefined) yield held
}
