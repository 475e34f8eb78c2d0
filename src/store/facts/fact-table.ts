// The facts of a store in one LMDB environment, facts/data.mdb: the only file that knows LMDB. All calls but `open` are
// synchronous, and may wait for the disk. A running mirror makes them on a thread of its own (fact-worker.ts). Commands make
// them in their own process: LMDB lets several processes read while one writes. One process must not open a table twice at a
// time: closing either would end the locks of both (fcntl(2)).
//
// Each kind of facts has a database in which facts lie in the order of their last use, under a running number. The database
// `index` finds that number. So the least recently used facts are at the beginning, and evicting them frees whole pages.

import { closeSync, constants, fstatSync, openSync, readSync, statSync } from 'node:fs'
import { endianness } from 'node:os'
import path from 'node:path'
import type { Database, RootDatabase } from 'lmdb'
import { loadKernelLock } from '../lock.ts'
import { FACT_KINDS, type FactKind } from '../store.ts'
import { DamagedFacts, guard, guardOpening, NoDatabase, SameProcessId } from './table-errors.ts'

/** Where a fact is found: its kind, and `factId` of its key. */
export interface FactName {
  readonly kind: FactKind
  readonly id: Uint8Array
}

/** A change of one fact. */
export type FactChange =
  | (FactName & {
      readonly act: 'put'
      readonly bytes: Uint8Array
      /** Epoch milliseconds. */
      readonly usedAt: number
      /** Leaves a fact unchanged that is there already. */
      readonly ifAbsent?: boolean
    })
  | (FactName & { readonly act: 'remove' })
  /** Records a use, if the fact is there. */
  | (FactName & { readonly act: 'use'; readonly usedAt: number })

/** A fact as it was put. */
export interface FactBytes {
  readonly bytes: Buffer
  /** Epoch milliseconds, in whole seconds. */
  readonly usedAt: number
}

const NUMBER_BYTES = 6
const SECONDS_BYTES = 4
/** How many facts are evicted before it is decided again which kind takes most. */
const EVICT_AT_ONCE = 64
/** Where the two first pages have the magic number of LMDB, as this machine writes it. */
const MAGIC = { number: 0xbeefc0de, positions: [24, 4096 + 24] } as const

export function tableFile(directory: string): string {
  return path.join(directory, 'data.mdb')
}

/**
 * Opens the table in `directory`, which exists. Without `readOnly` it makes what is missing; with it, the result is undefined
 * when there is no table. The caller closes it. Rejects with the errors of table-errors.ts, or the error of the disk.
 */
export async function openTable(directory: string, options: { readonly readOnly: false }): Promise<FactTable>
export async function openTable(
  directory: string,
  options: { readonly readOnly: boolean },
): Promise<FactTable | undefined>
export async function openTable(
  directory: string,
  options: { readonly readOnly: boolean },
): Promise<FactTable | undefined> {
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
      maxDbs: FACT_KINDS.length + 1,
      encoding: 'binary',
      keyEncoding: 'binary',
      // A commit is on the disk when it returns, as in LMDB itself.
      overlappingSync: false,
    })
    // A page that the file does not have would end the process.
    const { lastPageNumber, pageSize, entryCount } = root.getStats() as Stats
    const { size } = statSync(tableFile(directory))
    if (size > 0 && size < (lastPageNumber + 1) * pageSize) {
      void root.close()
      throw new DamagedFacts(tableFile(directory), 'it is cut short')
    }
    const make = (): FactTable => new FactTable(directory, root)
    // Nothing is in it yet, which a crash can leave, too. One commit makes all of it.
    if (entryCount === 0 && options.readOnly) return undefined
    const table = entryCount > 0 ? make() : root.transactionSync(make)
    // The first read takes the lock for the process id. It must not be taken by another process later.
    table.get({ kind: 'files', id: Buffer.alloc(0) })
    return table
  })
}

/**
 * Throws DamagedFacts unless the file is empty or begins as a database does: LMDB maps it into memory and believes what it
 * reads.
 */
function requireMagic(file: string): void {
  // Without O_NONBLOCK, a FIFO in its place would hold the thread.
  const fd = openSync(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  try {
    if (!fstatSync(fd).isFile()) throw new DamagedFacts(file, 'it is no file')
    const pages = Buffer.alloc(2 * 4096)
    const length = readSync(fd, pages)
    const read = endianness() === 'LE' ? pages.readUInt32LE.bind(pages) : pages.readUInt32BE.bind(pages)
    const isRight = MAGIC.positions.every((position) => read(position) === MAGIC.number)
    if (length > 0 && !isRight) throw new DamagedFacts(file, 'it is no database')
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

/** An empty file is what a crash leaves before LMDB has written to it. */
function isTable(directory: string): boolean {
  return (statSync(tableFile(directory), { throwIfNoEntry: false })?.size ?? 0) > 0
}

function makePrivate(file: string): void {
  closeSync(openSync(file, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600))
}

export class FactTable {
  readonly #directory: string
  readonly #root: RootDatabase<Buffer, Buffer>
  readonly #index: Database<Buffer, Buffer>
  readonly #facts: Readonly<Record<FactKind, Database<Buffer, Buffer>>>
  /** The number of the fact used last, for the transaction under way. Another process may change it after that. */
  readonly #lastNumbers = new Map<FactKind, number>()

  constructor(directory: string, root: RootDatabase<Buffer, Buffer>) {
    this.#directory = directory
    this.#root = root
    const openDb = (name: string): Database<Buffer, Buffer> =>
      root.openDB<Buffer, Buffer>({ name, encoding: 'binary', keyEncoding: 'binary' })
    this.#index = openDb('index')
    this.#facts = {
      files: openDb('files'),
      refs: openDb('refs'),
      repos: openDb('repos'),
      documents: openDb('documents'),
    }
  }

  /** Undefined when there is no such fact. */
  get(name: FactName): FactBytes | undefined {
    return guard(tableFile(this.#directory), () => this.#get(name))
  }

  /**
   * Makes all changes in one transaction, in their order, and evicts until `sizeBytes` is at most `limitBytes`. They are
   * durable when it returns. If it throws, nothing has changed.
   */
  change(changes: readonly FactChange[], limitBytes: number): void {
    guard(tableFile(this.#directory), () =>
      this.#root.transactionSync(() => {
        this.#lastNumbers.clear()
        for (const change of changes) this.#apply(change)
        this.#evict(limitBytes)
      }),
    )
  }

  /** How many facts of a kind the database has counted. */
  count(kind: FactKind): number {
    return (this.#facts[kind].getStats() as Stats).entryCount
  }

  /** The bytes of each fact of a kind, from the least to the most recently used. */
  *walk(kind: FactKind): Generator<{ readonly id: Buffer; readonly bytes: Buffer }> {
    const facts = this.#facts[kind].getRange({})[Symbol.iterator]()
    for (;;) {
      const next = guard(tableFile(this.#directory), () => facts.next())
      if (next.done === true) return
      yield { id: next.value.key.subarray(NUMBER_BYTES), bytes: next.value.value }
    }
  }

  /** The pages that facts take. The file has more: it keeps pages that were freed for later facts. */
  get sizeBytes(): number {
    return pageBytes(this.#index) + FACT_KINDS.reduce((sum, kind) => sum + pageBytes(this.#facts[kind]), 0)
  }

  async close(): Promise<void> {
    await this.#root.close()
  }

  #get(name: FactName): FactBytes | undefined {
    const place = this.#index.get(indexKey(name))
    const bytes = place && this.#facts[name.kind].get(factKey(place, name.id))
    return bytes && { bytes, usedAt: place.readUInt32BE(NUMBER_BYTES) * 1000 }
  }

  #apply(change: FactChange): void {
    const key = indexKey(change)
    const place = this.#index.get(key)
    const facts = this.#facts[change.kind]
    const before = place && factKey(place, change.id)
    if (change.act === 'put') {
      if (before !== undefined && change.ifAbsent === true) return
      if (before !== undefined) facts.removeSync(before)
      this.#append(change, change.bytes, change.usedAt)
    } else if (before !== undefined) {
      const bytes = change.act === 'use' ? facts.get(before) : undefined
      facts.removeSync(before)
      if (change.act === 'use' && bytes !== undefined) this.#append(change, bytes, change.usedAt)
      else this.#index.removeSync(key)
    }
  }

  #append(name: FactName, bytes: Uint8Array, usedAt: number): void {
    const facts = this.#facts[name.kind]
    const number = (this.#lastNumbers.get(name.kind) ?? lastNumber(facts)) + 1
    this.#lastNumbers.set(name.kind, number)
    const place = Buffer.alloc(NUMBER_BYTES + SECONDS_BYTES)
    place.writeUIntBE(number, 0, NUMBER_BYTES)
    place.writeUInt32BE(Math.max(0, Math.floor(usedAt / 1000)), NUMBER_BYTES)
    facts.putSync(factKey(place, name.id), asBuffer(bytes), { append: true })
    this.#index.putSync(indexKey(name), place)
  }

  /** Removes the least recently used facts, of the kind that takes most. */
  #evict(limitBytes: number): void {
    for (;;) {
      const sizeBytes = this.sizeBytes
      if (sizeBytes <= limitBytes) return
      const sizes = FACT_KINDS.map((kind) => ({ kind, bytes: pageBytes(this.#facts[kind]) }))
      const { kind, bytes } = sizes.reduce((most, next) => (next.bytes > most.bytes ? next : most))
      const facts = this.#facts[kind]
      const oldest = [...facts.getKeys({ limit: EVICT_AT_ONCE })]
      if (oldest.length === 0) return
      for (const key of oldest) {
        facts.removeSync(key)
        this.#index.removeSync(indexKey({ kind, id: key.subarray(NUMBER_BYTES) }))
        if (sizeBytes - bytes + pageBytes(facts) <= limitBytes) break
      }
    }
  }
}

/** What `getStats` of a database returns. */
interface Stats {
  readonly pageSize: number
  readonly treeBranchPageCount: number
  readonly treeLeafPageCount: number
  readonly overflowPages: number
  readonly entryCount: number
  /** Of the whole file. */
  readonly lastPageNumber: number
}

function pageBytes(db: Database<Buffer, Buffer>): number {
  const { pageSize, treeBranchPageCount, treeLeafPageCount, overflowPages } = db.getStats() as Stats
  return (treeBranchPageCount + treeLeafPageCount + overflowPages) * pageSize
}

function lastNumber(facts: Database<Buffer, Buffer>): number {
  const [last] = facts.getKeys({ reverse: true, limit: 1 })
  return last?.readUIntBE(0, NUMBER_BYTES) ?? 0
}

function indexKey({ kind, id }: FactName): Buffer {
  return Buffer.concat([Buffer.of(FACT_KINDS.indexOf(kind)), id])
}

/** The running number of an index entry, and the id, by which the index entry is found when the fact is evicted. */
function factKey(place: Buffer, id: Uint8Array): Buffer {
  return Buffer.concat([place.subarray(0, NUMBER_BYTES), id])
}

/** The same memory as a Buffer: a message of another thread brings plain arrays. */
function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
