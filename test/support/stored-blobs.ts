// The blobs of a store that no process of this test has open: small ones in the table, others in files. A mirror in another
// process may be running on it.

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { BlobKey } from '../../src/store/digest.ts'
import { createLayout } from '../../src/store/layout.ts'
import { type Change, withTable } from '../../src/store/table/table.ts'
import { flipBit } from './damage.ts'

/** `sha256-<hex>`, as store-check.ts names blobs, as a key. */
const keyOf = (name: string) => name.replace('-', ':') as BlobKey

const facts = (cacheDir: string) => join(cacheDir, 'facts')

/** Changes the table. */
export function changeTable(cacheDir: string, ...changes: readonly Change[]): Promise<void> {
  return withTable(facts(cacheDir), { readOnly: false }, (table) => table?.change(changes, 1e9))
}

/** Makes the next start look for the blobs in files, as after a crash. */
export function forgetRows(cacheDir: string): Promise<void> {
  return changeTable(cacheDir, { act: 'open-rows' })
}

/** The small blobs in the table, by the name that store-check.ts gives them. */
export function smallBlobsIn(cacheDir: string): Promise<ReadonlyMap<string, Buffer>> {
  return withTable(facts(cacheDir), { readOnly: true }, (table) => {
    const found = new Map<string, Buffer>()
    for (const { key, isInTable } of table?.walkBlobs() ?? []) {
      const bytes = isInTable ? table?.blobBytes(key) : undefined
      if (bytes !== undefined) found.set(key.replace(':', '-'), bytes)
    }
    return found
  })
}

/** The bytes of a blob, wherever they are. Undefined when it is not stored. */
export async function storedBytes(cacheDir: string, name: string): Promise<Buffer | undefined> {
  const small = (await smallBlobsIn(cacheDir)).get(name)
  return small ?? readFile(createLayout(cacheDir).blob(keyOf(name))).catch(() => undefined)
}

/** Flips one bit of a blob, as an ageing disk does. */
export async function flipStoredBit(cacheDir: string, name: string, position: number): Promise<void> {
  const bytes = (await smallBlobsIn(cacheDir)).get(name)
  if (bytes === undefined) return flipBit(createLayout(cacheDir).blob(keyOf(name)), position)
  bytes[position] = (bytes[position] ?? 0) ^ 1
  const row = { sizeBytes: bytes.length, usedAt: Date.now(), bytes }
  await changeTable(cacheDir, { act: 'add-blob', key: keyOf(name), ...row })
}
