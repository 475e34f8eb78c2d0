// What tests of small blobs share: how they are stored, read, and put where earlier versions had them.

import { access, mkdir, utimes, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, onTestFinished } from 'vitest'
import type { BlobKey } from '../../../src/store/digest.ts'
import type { DiskStore, StoreOptions } from '../../../src/store/disk-store.ts'
import type { Layout } from '../../../src/store/layout.ts'
import { open, patternBytes, sha256Key } from './scratch.ts'

export const SMALL = patternBytes(3000, 1)
export const LARGE = patternBytes(100_000, 2)
export const DAY_MS = 86_400_000

export async function opened(root: string, options: Partial<StoreOptions> = {}): Promise<DiskStore> {
  const store = await open(root, options)
  onTestFinished(() => store.close())
  return store
}

export async function put(store: DiskStore, bytes: Buffer): Promise<BlobKey> {
  const key = sha256Key(bytes)
  const partial = await store.beginPartial(key, bytes.length)
  expect(await partial.reserve({ start: 0, end: bytes.length })).toBe(true)
  await partial.write(0, [bytes])
  await partial.commit()
  await partial.release()
  return key
}

/** All bytes of a blob, or undefined when it is not stored. */
export async function bytesOf(store: DiskStore, bytes: Buffer): Promise<Buffer | undefined> {
  const blob = await store.blobs.open(sha256Key(bytes), bytes.length)
  if (blob === undefined) return undefined
  const read = Buffer.alloc(bytes.length)
  await blob.read(read, 0, read.length, 0)
  await blob.close()
  return read
}

/** Puts a blob in the place where earlier versions had all blobs. */
export async function plant(
  layout: Layout,
  bytes: Buffer,
  options: { key?: BlobKey; ageMs?: number } = {},
): Promise<string> {
  const file = layout.blob(options.key ?? sha256Key(bytes))
  await mkdir(path.dirname(file), { recursive: true })
  await writeFile(file, bytes, { mode: 0o400 })
  const usedAt = (Date.now() - (options.ageMs ?? 0)) / 1000
  await utimes(file, usedAt, usedAt)
  return file
}

export const isThere = (file: string) =>
  access(file).then(
    () => true,
    () => false,
  )

export const entriesOf = (store: DiskStore) => [...store.ledger.entries()].map(([name]) => name)
