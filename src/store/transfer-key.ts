// The key that transfer links are sealed with. It lies in the store, so that an upload of hours goes on after a restart.

import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ifThere, writeAtomic } from './atomic.ts'

/** Of AES-256. */
const KEY_BYTES = 32

/**
 * Returns a function that reads the key of the store at `cacheDir`, or makes it (0600) on the first call. If the file cannot
 * be read or written, the key lasts as long as the process, and so do the links. Never rejects.
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
    // A store that cannot be written still passes uploads through.
  }
  return made
}
