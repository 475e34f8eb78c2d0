// The key that transfer links are sealed with. It lies in the store, so that an upload of hours goes on after a restart.

import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ifThere, writeAtomic } from './atomic.ts'

/** Of AES-256. */
const KEY_BYTES = 32

/**
 * The key of the store at `cacheDir`, made when it is first asked for (0600). Where it cannot be read or written it is one
 * of this process: links end with it then. Never rejects.
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
