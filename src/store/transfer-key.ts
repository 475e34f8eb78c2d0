// The key with which transfer links are sealed. It is kept in the store, so that links stay valid after a restart: an upload
// can take hours.

import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ifThere, writeAtomic } from './atomic.ts'

/** The length of an AES-256 key. */
const KEY_BYTES = 32

/**
 * Returns a function that reads the key of the store at `cacheDir`, and makes it (mode 0600) if there is none. It does so on
 * the first call. If the file cannot be read or written, the key and its links last as long as the process. Never rejects.
 */
export function createTransferKey(cacheDir: string): () => Promise<Buffer> {
  let key: Promise<Buffer> | undefined
  return () => (key ??= readOrMake(cacheDir))
}

async function readOrMake(cacheDir: string): Promise<Buffer> {
  const path = join(cacheDir, 'transfer-key')
  const made = randomBytes(KEY_BYTES)
  try {
    const found = await ifThere(readFile(path))
    if (found?.length === KEY_BYTES) return found
    await writeAtomic(join(cacheDir, 'tmp'), path, made, { durable: true })
  } catch {
    // With a store that cannot be written, uploads still pass through.
  }
  return made
}
