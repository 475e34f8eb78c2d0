// A store whose promises are tested, whatever kind it is, and what the tests do with it.

import { expect, onTestFinished } from 'vitest'
import type { BlobKey } from '../../../../src/store/digest.ts'
import { BLOCK_BYTES } from '../../../../src/store/partials/blocks.ts'
import type { BlobHandle, PartialBlob, Store } from '../../../../src/store/store.ts'
import { patternBytes, sha256Key } from '../scratch.ts'

/** A place for a store, empty at first. */
export interface StoreUnderTest {
  /** Opens the store; again after it was closed, with what was stored before. */
  open(options?: { readonly maxBytes?: number }): Promise<Store>
}

export type MakeStore = () => Promise<StoreUnderTest>

export const BYTES = patternBytes(2 * BLOCK_BYTES + 10)
export const KEY = sha256Key(BYTES)
export const SMALL = patternBytes(1000, 7)

/** A store that is empty, counted, and open until the end of the test. */
export async function opened(make: MakeStore, options: { readonly maxBytes?: number } = {}): Promise<Store> {
  const store = await (await make()).open(options)
  onTestFinished(() => store.close())
  await store.scanned
  return store
}

/** A partial of which all bytes have landed; the caller releases it. */
export async function landed(store: Store, bytes: Buffer, key = sha256Key(bytes)): Promise<PartialBlob> {
  const partial = await store.beginPartial(key, bytes.length)
  await partial.write(0, [bytes])
  return partial
}

export async function stored(store: Store, bytes: Buffer, key = sha256Key(bytes)): Promise<void> {
  const partial = await landed(store, bytes, key)
  await partial.commit()
  await partial.release()
}

export async function openBlob(store: Store, key: BlobKey, sizeBytes: number): Promise<BlobHandle> {
  const blob = await store.blobs.open(key, sizeBytes)
  if (blob === undefined) throw new Error(`${key} is not stored`)
  return blob
}

export async function contentOf(store: Store, key: BlobKey, sizeBytes: number): Promise<Buffer | undefined> {
  const blob = await store.blobs.open(key, sizeBytes)
  try {
    return blob && (await readWhole(blob))
  } finally {
    await blob?.close()
  }
}

export async function readWhole(blob: BlobHandle): Promise<Buffer> {
  const buffer = Buffer.alloc(blob.sizeBytes)
  expect(await blob.read(buffer, 0, buffer.length, 0)).toBe(buffer.length)
  return buffer
}

/** The message of what `promise` rejects with. */
export function outcomeOf(promise: Promise<void>): Promise<string> {
  return promise.then(
    () => 'resolved',
    (error: unknown) => (error as Error).message,
  )
}
