// What the key of a blob means, and how bytes are verified against it. Files are known elsewhere: bytes are read by a
// function that the caller passes.

import { createHash, type Hash } from 'node:crypto'

export const KEY_ALGORITHMS = ['sha256', 'gitsha1', 'opaque'] as const
export type KeyAlgorithm = (typeof KEY_ALGORITHMS)[number]

/**
 * The key of a blob. `sha256:<64 hex>` for files of Git LFS and Xet, `gitsha1:<40 hex>` for ordinary git blobs,
 * `opaque:<64 hex>` when the etag of the Hub is not a digest of the bytes; only the length can be verified then.
 */
export type BlobKey = `${KeyAlgorithm}:${string}`

const KEY = /^(?:sha256:[0-9a-f]{64}|gitsha1:[0-9a-f]{40}|opaque:[0-9a-f]{64})$/

/** Whether a text is a key. Only such a key may become a path (layout.ts). */
export function isBlobKey(text: string): text is BlobKey {
  return KEY.test(text)
}

interface VerifierOptions {
  readonly resume?: { readonly hash: Hash | undefined; readonly position: number }
  /** Gets the same bytes in the same order. */
  readonly tee?: { update(bytes: Uint8Array): void } | undefined
}

/** Verifies the bytes of one file, from the first to the last, in order. */
export class Verifier {
  readonly #key: BlobKey
  readonly #sizeBytes: number
  readonly #hash: Hash | undefined
  readonly #beside: VerifierOptions['tee']
  #position = 0

  constructor(key: BlobKey, sizeBytes: number, { resume, tee: beside }: VerifierOptions = {}) {
    this.#key = key
    this.#sizeBytes = sizeBytes
    this.#beside = beside
    if (resume !== undefined) {
      this.#hash = resume.hash
      this.#position = resume.position
    } else if (key.startsWith('sha256:')) {
      this.#hash = createHash('sha256')
    } else if (key.startsWith('gitsha1:')) {
      // A git object id covers a header that contains the length, so it must be known before the first byte.
      this.#hash = createHash('sha1').update(`blob ${sizeBytes}\0`)
    }
  }

  /** How many bytes have been hashed. The next `update` must continue from here. */
  get position(): number {
    return this.#position
  }

  update(bytes: Uint8Array): void {
    this.#hash?.update(bytes)
    this.#beside?.update(bytes)
    this.#position += bytes.byteLength
  }

  /** Makes an independent verifier that has hashed the same bytes. */
  fork(): Verifier {
    const resume = { hash: this.#hash?.copy(), position: this.#position }
    return new Verifier(this.#key, this.#sizeBytes, { resume })
  }

  /** Whether all bytes were hashed, and have the digest of the key. The verifier must not be used afterwards. */
  matches(): boolean {
    if (this.#position !== this.#sizeBytes) return false
    if (this.#hash === undefined) return true
    return this.#hash.digest('hex') === this.#key.slice(this.#key.indexOf(':') + 1)
  }
}

/** Whether bytes that are there as a whole have the digest of the key. */
export function hasDigest(key: BlobKey, bytes: Uint8Array): boolean {
  const verifier = new Verifier(key, bytes.byteLength)
  verifier.update(bytes)
  return verifier.matches()
}

/**
 * Fills `buffer` from `offset` with up to `length` bytes that lie at `position`. Resolves with how many there were; 0
 * means that none follow.
 */
export type ReadAt = (buffer: Buffer, offset: number, length: number, position: number) => Promise<number>

const HASH_CHUNK_BYTES = 1024 * 1024

/**
 * Hashes on from where `verifier` stands, up to `end`. Returns early when `read` says that no bytes follow, so the
 * caller looks at `verifier.position`. Rejects as `read` does. `buffer` holds one piece at a time.
 */
export async function hashUpTo(
  verifier: Verifier,
  read: ReadAt,
  end: number,
  buffer: Buffer = Buffer.allocUnsafe(Math.min(HASH_CHUNK_BYTES, Math.max(1, end - verifier.position))),
): Promise<void> {
  while (verifier.position < end) {
    const length = Math.min(buffer.length, end - verifier.position)
    const bytes = await read(buffer, 0, length, verifier.position)
    if (bytes === 0) return
    verifier.update(buffer.subarray(0, bytes))
  }
}
