// The blobs of a store: small ones in the table, others in files. A mirror may be running on it, but in another process if the
// table is changed.

import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
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

/** Prints the small blobs of the store in its arguments as JSON. Needs `npm run build`. */
const LIST = `
  const [table, facts] = process.argv.slice(1)
  const { withTable } = await import(table)
  await withTable(facts, { readOnly: true }, (table) => {
    const found = []
    for (const { key, isInTable } of table?.walkBlobs() ?? [])
      if (isInTable) found.push([key.replace(':', '-'), table.blobBytes(key).toString('base64')])
    console.log(JSON.stringify(found))
  })
`
const BUILT_TABLE = new URL('../../dist/store/table/table.js', import.meta.url).href

/**
 * The small blobs in the table, by the name that store-check.ts gives them. Another process reads them: this one may have the
 * table open, as a mirror.
 */
export async function smallBlobsIn(cacheDir: string): Promise<ReadonlyMap<string, Buffer>> {
  const args = ['--input-type=module', '--eval', LIST, BUILT_TABLE, facts(cacheDir)]
  const { stdout } = await execute(process.execPath, args, { maxBuffer: 256 * 1024 * 1024 })
  const found = JSON.parse(stdout) as [string, string][]
  return new Map(found.map(([name, text]) => [name, Buffer.from(text, 'base64')]))
}

const execute = promisify(execFile)

/** The bytes of a blob, wherever they are. Undefined when it is not stored. No mirror may run on it in this process. */
export async function storedBytes(cacheDir: string, name: string): Promise<Buffer | undefined> {
  const small = await withTable(facts(cacheDir), { readOnly: true }, (table) => table?.blobBytes(keyOf(name)))
  return small ?? readFile(createLayout(cacheDir).blob(keyOf(name))).catch(() => undefined)
}

/** Flips one bit of a blob, as an ageing disk does. */
export async function flipStoredBit(cacheDir: string, name: string, position: number): Promise<void> {
  const bytes = await withTable(facts(cacheDir), { readOnly: true }, (table) => table?.blobBytes(keyOf(name)))
  if (bytes === undefined) return flipBit(createLayout(cacheDir).blob(keyOf(name)), position)
  bytes[position] = (bytes[position] ?? 0) ^ 1
  const row = { sizeBytes: bytes.length, usedAt: Date.now(), bytes }
  await changeTable(cacheDir, { act: 'add-blob', key: keyOf(name), ...row })
}
