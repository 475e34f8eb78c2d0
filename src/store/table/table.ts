// The facts and small blobs of a store in one LMDB environment, facts/data.mdb. What its rows are is known in fact-rows.ts and
// blob-rows.ts. All calls but `open` are synchronous, and may wait for the disk. A running mirror makes them on a thread of its
// own (table-worker.ts). Commands make them in their own process: LMDB lets several processes read while one writes. One process
// must not open a table twice at a time: closing either would end the locks of both (fcntl(2)).

import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  fsyncSync,
  openSync,
  readSync,
  statSync,
  truncateSync,
} from 'node:fs'
import { endianness } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { RootDatabase } from 'lmdb'
import type { BlobKey } from '../digest.ts'
import { loadKernelLock } from '../lock.ts'
import type { FactKind } from '../store.ts'
import { BLOB_DATABASES, type BlobChange, type BlobRow, BlobRows } from './blob-rows.ts'
import { FACT_DATABASES, type FactBytes, type FactChange, type FactName, FactRows } from './fact-rows.ts'
import type { Stats, TableUsage } from './rows.ts'
import { CutTable, DamagedTable, guard, guardOpening, NoDatabase, SameProcessId } from './table-errors.ts'

/** A change of a fact or of a blob. */
export type Change = FactChange | BlobChange

/** Where the two first pages have the magic number of LMDB, as this machine writes it. */
const MAGIC = { number: 0xbeefc0de, positions: [24, 4096 + 24] } as const

export function tableFile(directory: string): string {
  return path.join(directory, 'data.mdb')
}

const CUT_TRIES = 5
const CUT_RETRY_MS = 50

interface OpenOptions {
  readonly readOnly: boolean
  /** A file that is cut short gets pages of zeros, instead of CutTable: reading then shows what is lost. */
  readonly extendsCut?: boolean
}

/**
 * Opens the table in `directory`, which exists. Without `readOnly` it makes what is missing; with it, the result is undefined
 * when there is no table. The caller closes it. Rejects with the errors of table-errors.ts, or the error of the disk.
 */
export async function openTable(
  directory: string,
  options: OpenOptions & { readonly readOnly: false },
): Promise<Table>
export async function openTable(directory: string, options: OpenOptions): Promise<Table | undefined>
export async function openTable(directory: string, options: OpenOptions): Promise<Table | undefined> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await openOnce(directory, options)
    } catch (error) {
      // The mirror that writes to it may be about to give it its length.
      if (!(error instanceof CutTable) || !options.readOnly || tries >= CUT_TRIES) throw error
      await sleep(CUT_RETRY_MS)
    }
  }
}

async function openOnce(directory: string, options: OpenOptions): Promise<Table | undefined> {
  if (options.readOnly && !isTable(directory)) return undefined
  const { open } = await import('lmdb').catch((error: unknown) => {
    throw new NoDatabase(error)
  })
  // LMDB makes its files readable for all, unless they exist.
  if (!options.readOnly) for (const name of ['data.mdb', 'lock.mdb']) makePrivate(path.join(directory, name))
  await requireOwnProcessId(path.join(directory, 'lock.mdb'))
  return guardOpening(tableFile(directory), () => {
    requireMagic(tableFile(directory))
    const root = open<Buffer, Buffer>({
      path: directory,
      noSubdir: false,
      readOnly: options.readOnly,
      maxDbs: FACT_DATABASES + BLOB_DATABASES,
      encoding: 'binary',
      keyEncoding: 'binary',
      // A commit is on the disk when it returns, as in LMDB itself.
      overlappingSync: false,
    })
    // A page that the file does not have would end the process.
    const { entryCount } = root.getStats() as Stats
    if (isCut(directory, root)) {
      if (options.extendsCut !== true) {
        void root.close()
        throw new CutTable(tableFile(directory))
      }
      truncateSync(tableFile(directory), lengthOf(root))
    }
    const make = (): Table => new Table(directory, root)
    // Nothing is in it yet, which a crash can leave, too, or it is of an early build. One commit makes all of it.
    const isWhole = entryCount === FACT_DATABASES + BLOB_DATABASES
    if (!isWhole && options.readOnly) {
      void root.close()
      return undefined
    }
    const table = isWhole ? make() : root.transactionSync(make)
    // The first read takes the lock for the process id. It must not be taken by another process later.
    table.fact({ kind: 'files', id: Buffer.alloc(0) })
    return table
  })
}

function isCut(directory: string, root: RootDatabase<Buffer, Buffer>): boolean {
  const { size } = statSync(tableFile(directory))
  return size > 0 && size < lengthOf(root)
}

/** How long the file is with all pages that LMDB has ever used. */
function lengthOf(root: RootDatabase<Buffer, Buffer>): number {
  const { lastPageNumber, pageSize } = root.getStats() as Stats
  return (lastPageNumber + 1) * pageSize
}

/**
 * Throws DamagedTable unless the file is empty or begins as a database does: LMDB maps it into memory and believes what it
 * reads.
 */
function requireMagic(file: string): void {
  // Without O_NONBLOCK, a FIFO in its place would hold the thread.
  const fd = openSync(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  try {
    if (!fstatSync(fd).isFile()) throw new DamagedTable(file, 'it is no file')
    const pages = Buffer.alloc(2 * 4096)
    const length = readSync(fd, pages)
    const read = endianness() === 'LE' ? pages.readUInt32LE.bind(pages) : pages.readUInt32BE.bind(pages)
    const isRight = MAGIC.positions.every((position) => read(position) === MAGIC.number)
    if (length > 0 && !isRight) throw new DamagedTable(file, 'it is no database')
  } finally {
    closeSync(fd)
  }
}

/**
 * Throws SameProcessId when another process with the id of this one has the table open. LMDB locks the byte of `lock.mdb` at
 * its process id, and a process of another container may have the same id.
 */
async function requireOwnProcessId(file: string): Promise<void> {
  if (process.platform !== 'linux') return
  const lock = await loadKernelLock()
  let fd: number
  try {
    fd = openSync(file, constants.O_RDWR | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch {
    // None yet, or the volume is read-only: LMDB locks nothing then.
    return
  }
  try {
    if (lock?.tryLock(fd, process.pid, 1) === false) throw new SameProcessId(file)
  } catch (error) {
    // A volume without such locks. What LMDB needs of it, LMDB finds out.
    if (error instanceof SameProcessId) throw error
  } finally {
    closeSync(fd)
  }
}

/**
 * Opens the table for one piece of work, which must not open it again, and closes it. Without a table `work` is given none; none is
 * made. Rejects as `openTable` does.
 */
export async function withTable<T>(
  directory: string,
  options: { readonly readOnly: boolean },
  work: (table: Table | undefined) => T | Promise<T>,
): Promise<T> {
  const table = isTable(directory) ? await openTable(directory, options) : undefined
  try {
    return await work(table)
  } finally {
    await table?.close()
  }
}

/** An empty file is what a crash leaves before LMDB has written to it. */
function isTable(directory: string): boolean {
  return (statSync(tableFile(directory), { throwIfNoEntry: false })?.size ?? 0) > 0
}

function makePrivate(file: string): void {
  closeSync(openSync(file, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600))
}

export class Table {
  readonly #file: string
  readonly #root: RootDatabase<Buffer, Buffer>
  readonly #facts: FactRows
  readonly #blobs: BlobRows
  /** The file has at least so many bytes. */
  #lengthBytes = 0

  constructor(directory: string, root: RootDatabase<Buffer, Buffer>) {
    this.#file = tableFile(directory)
    this.#root = root
    this.#facts = new FactRows(root)
    this.#blobs = new BlobRows(root)
  }

  /** Undefined when there is no such fact. */
  fact(name: FactName): FactBytes | undefined {
    return guard(this.#file, () => this.#facts.get(name))
  }

  /** How many facts of a kind the database has counted. */
  countFacts(kind: FactKind): number {
    return guard(this.#file, () => this.#facts.count(kind))
  }

  /** The bytes of each fact of a kind, from the least to the most recently used. */
  walkFacts(kind: FactKind): Generator<{ readonly id: Buffer; readonly bytes: Buffer }> {
    return this.#guarded(this.#facts.walk(kind))
  }

  /** Up to `limit` facts of a kind that follow `after`, for `decodeFactPage`. With `keyStart` as `FactRows.page`. */
  pageOfFacts(kind: FactKind, after: Uint8Array | undefined, limit: number, keyStart?: Uint8Array): Buffer {
    return guard(this.#file, () => this.#facts.page(kind, after, limit, keyStart))
  }

  /** The pages that facts take. The file has more: it keeps pages that were freed for later rows. */
  get factBytes(): number {
    return guard(this.#file, () => this.#facts.sizeBytes)
  }

  /** How much of the file is in use. */
  get usage(): TableUsage {
    return guard(this.#file, () => {
      const usedBytes = this.#facts.sizeBytes + this.#blobs.sizeBytes
      return { usedBytes, fileBytes: lengthOf(this.#root) }
    })
  }

  /** The bytes of a small blob, which are not verified yet. Undefined when they are not in the table. */
  blobBytes(key: BlobKey): Buffer | undefined {
    return guard(this.#file, () => this.#blobs.bytes(key))
  }

  /** Whether the bytes of a small blob are in the table. Does not read them. */
  hasBlobBytes(key: BlobKey): boolean {
    return guard(this.#file, () => this.#blobs.has(key))
  }

  /** Undefined when the table does not know the blob. */
  blob(key: BlobKey): BlobRow | undefined {
    return guard(this.#file, () => this.#blobs.row(key))
  }

  /** Whether each blob of the store has a row. */
  get isComplete(): boolean {
    return guard(this.#file, () => this.#blobs.isComplete)
  }

  /** How many rows of blobs, and how many small blobs, the databases have counted. */
  countBlobs(): { readonly rows: number; readonly contents: number } {
    return guard(this.#file, () => this.#blobs.count)
  }

  /** What the table knows of each blob that follows `after`, ordered by algorithm and then by digest. */
  walkBlobs(after?: BlobKey): Generator<BlobRow> {
    return this.#guarded(this.#blobs.walk(after))
  }

  /** Up to `limit` rows that follow `after`, for `decodePage`. */
  pageOfBlobs(after: BlobKey | undefined, limit: number): Buffer {
    return guard(this.#file, () => this.#blobs.page(after, limit))
  }

  /**
   * Makes all changes in one transaction, in their order, and evicts facts until `factBytes` is at most `factLimitBytes`. They are
   * durable when it returns. If it throws, nothing has changed.
   */
  change(changes: readonly Change[], factLimitBytes: number): void {
    guard(this.#file, () =>
      this.#root.transactionSync(() => {
        const facts: FactChange[] = []
        for (const change of changes) {
          if ('kind' in change) facts.push(change)
          else this.#blobs.change(change)
        }
        this.#facts.change(facts, factLimitBytes)
      }),
    )
    this.#extend()
  }

  /**
   * LMDB does not write the last pages of the file if a transaction has taken and freed them. Then the file is shorter than it
   * says, and looks like one that was cut.
   */
  #extend(): void {
    const length = lengthOf(this.#root)
    if (length <= this.#lengthBytes) return
    this.#lengthBytes = length
    if (statSync(this.#file).size < length) truncateSync(this.#file, length)
  }

  /** Copies all rows to the folder of a new table, without free pages. The copy is durable when this resolves. */
  async copyTo(directory: string): Promise<void> {
    await this.#root.backup(directory, true)
    const copy = openSync(tableFile(directory), constants.O_RDWR)
    try {
      fchmodSync(copy, 0o600)
      fsyncSync(copy)
    } finally {
      closeSync(copy)
    }
  }

  async close(): Promise<void> {
    await this.#root.close()
  }

  *#guarded<T>(rows: Iterator<T>): Generator<T> {
    for (;;) {
      const next = guard(this.#file, () => rows.next())
      if (next.done === true) return
      yield next.value
    }
  }
}
