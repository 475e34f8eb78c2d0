// Facts as earlier versions stored them (format `hubmirror 1`): a file for each, facts/<kind>/ab/<sha256>.json. They are read
// until they have been moved to the database, and on a read-only volume for good. Nothing writes them any more.
//
// A file is removed only after its fact is in the database, so that a crash costs nothing: the next start goes on with the
// files that are left.

import { constants } from 'node:fs'
import { type FileHandle, open, readdir, rmdir } from 'node:fs/promises'
import path from 'node:path'
import { crc32 } from 'node:zlib'
import { isRecord } from '../../records.ts'
import { errorCode, ifThere, isMissing, unlinkIfThere } from '../atomic.ts'
import type { Layout } from '../layout.ts'
import { FACT_KINDS, type FactKind } from '../store.ts'
import { parseFact, type ReadFact } from './fact-bytes.ts'

const NEWLINE = 0x0a
// Guards against a file that damage has made large: no real fact comes near this size.
const MAX_FACT_BYTES = 128 * 1024 * 1024
// A link would lead out of the store, and a pipe would block a thread for ever.
const OPEN_FACT = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK
/** How many files are read at once. Few, because readers of blobs use the same thread pool. */
const GROUP_FILES = 64

/** A fact in a file of its own. */
export interface OlderFact extends ReadFact {
  readonly kind: FactKind
  readonly sizeBytes: number
  /** Modification time, which is the time of last use. */
  readonly usedAt: number
}

/** Whether earlier versions have left facts in files here. */
export async function hasOlderFacts(layout: Layout): Promise<boolean> {
  const names = (await ifThere(readdir(layout.facts))) ?? []
  return FACT_KINDS.some((kind) => names.includes(kind))
}

/** Undefined when there is no such file, or it holds another fact or none. Rejects when the disk cannot be read. */
export async function readOlderFact(
  layout: Layout,
  kind: FactKind,
  key: string,
): Promise<OlderFact | undefined> {
  const found = await readFact(kind, layout.olderFact(kind, key))
  return found === undefined || found === 'damaged' || found.key !== key ? undefined : found
}

/** Resolves with whether there was such a file. */
export function removeOlderFact(layout: Layout, kind: FactKind, key: string): Promise<boolean> {
  return unlinkIfThere(layout.olderFact(kind, key))
}

/** The files of one kind, in groups. */
export async function* walkOlderFiles(layout: Layout, kind: FactKind): AsyncGenerator<readonly string[]> {
  const root = path.join(layout.facts, kind)
  for (const fan of await namesIn(root)) {
    const files = (await namesIn(path.join(root, fan)))
      .filter((name) => /^[0-9a-f]{64}\.json$/.test(name))
      .map((name) => path.join(root, fan, name))
    for (let start = 0; start < files.length; start += GROUP_FILES)
      yield files.slice(start, start + GROUP_FILES)
  }
}

/** The facts in these files, and `damaged` for each that holds none under its name. Files that are gone are left out. */
export async function readOlderFiles(
  layout: Layout,
  kind: FactKind,
  files: readonly string[],
): Promise<{ readonly file: string; readonly fact: OlderFact | 'damaged' }[]> {
  const facts = await Promise.all(files.map((file) => readFact(kind, file)))
  return facts.flatMap((fact, index) => {
    const file = files[index]
    if (fact === undefined || file === undefined) return []
    // In the wrong place for its key it is no fact: it would not be found there.
    const isRight = fact !== 'damaged' && layout.olderFact(kind, fact.key) === file
    return [{ file, fact: isRight ? fact : 'damaged' }]
  })
}

/** Removes the folders of a kind once they are empty. A folder with files of others stays. */
export async function removeOlderFolders(layout: Layout, kind: FactKind): Promise<void> {
  const root = path.join(layout.facts, kind)
  for (const fan of await namesIn(root)) await rmdir(path.join(root, fan)).catch(() => undefined)
  await rmdir(root).catch(() => undefined)
}

async function namesIn(directory: string): Promise<string[]> {
  return ((await ifThere(readdir(directory))) ?? []).sort()
}

/** Undefined when the file is gone. */
async function readFact(kind: FactKind, file: string): Promise<OlderFact | 'damaged' | undefined> {
  let handle: FileHandle
  try {
    handle = await open(file, OPEN_FACT)
  } catch (error) {
    if (isMissing(error)) return undefined
    if (errorCode(error) === 'ELOOP') return 'damaged'
    throw error
  }
  try {
    const stats = await handle.stat()
    if (!stats.isFile() || stats.size > MAX_FACT_BYTES) return 'damaged'
    const fact = decodeOlderFact(await handle.readFile())
    return fact === undefined ? 'damaged' : { kind, sizeBytes: stats.size, usedAt: stats.mtimeMs, ...fact }
  } catch (error) {
    // A sector that cannot be read.
    if (errorCode(error) === 'EIO') return 'damaged'
    throw error
  } finally {
    await handle.close()
  }
}

/**
 * The fact in a file: JSON on one line, and the body behind it. The JSON has `bytes`, the length and CRC-32 of the body. The
 * earliest builds kept a body as a text in the value.
 */
export function decodeOlderFact(file: Buffer): ReadFact | undefined {
  const end = file.indexOf(NEWLINE)
  const fact = parseFact(end === -1 ? file : file.subarray(0, end))
  if (fact === undefined) return undefined
  const { key, value, bytes } = fact
  if (bytes === undefined) return end === -1 ? { key, value } : undefined
  const body = file.subarray(end === -1 ? file.length : end + 1)
  const isRight = isRecord(bytes) && body.length === bytes['length'] && crc32(body) === bytes['crc32']
  if (!isRight || !isRecord(value)) return undefined
  return { key, value: { ...value, body } }
}
