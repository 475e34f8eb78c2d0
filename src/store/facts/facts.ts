// The facts of a store: small JSON values, some with a body of bytes. The recent ones are in memory, all of them in the table
// (table/). A fact has its full key and a checksum, which are compared on reading. What a fact means is up to mirror/.

import { MemoryCache } from '../../memory.ts'
import { unlinkIfThere } from '../atomic.ts'
import type { Layout } from '../layout.ts'
import { FACT_KINDS, type FactKind, type Facts } from '../store.ts'
import type { FactChange } from '../table/fact-rows.ts'
import type { TableThread } from '../table/table-thread.ts'
import { decodeFact, encodeFact, factId, keyOf, keyStart, type ReadFact } from './fact-bytes.ts'
import {
  hasOlderFacts,
  readOlderFact,
  readOlderFiles,
  removeOlderFact,
  removeOlderFolders,
  walkOlderFiles,
} from './older-facts.ts'

const ABSENT = Symbol('absent')
// How exact the time of last use is on the disk, as with blobs.
const RECORD_USE_EVERY_MS = 3_600_000
/** How many small facts are read from the table at once. */
const LIST_AT_ONCE = 1_000
/** How much may be written before the free space of the disk is checked again. */
const CHECK_DISK_EVERY_BYTES = 1024 * 1024

export interface FactsOptions {
  /** Bound of the memory. */
  readonly memoryBytes: number
  /** Bound of the space on the disk; undefined for none. It is read at each use. */
  readonly maxBytes?: number
  /** How many bytes the disk lacks of the free space that is always left. */
  readonly shortBytes?: () => Promise<number>
  readonly now?: () => number
  /** Called with errors of the disk for which no request waits. */
  readonly onTrouble?: (error: unknown) => void
  /** Changes stay in memory: the volume is read-only. */
  readonly readOnly?: boolean
}

interface CachedFact {
  readonly value: unknown
  readonly sizeBytes: number
  /** When its use was last recorded on the disk. */
  recordedAt: number
}

/** Facts on a local disk, whose room is counted. */
export class DiskFacts implements Facts {
  readonly #layout: Layout
  readonly #options: FactsOptions
  readonly #table: TableThread
  readonly #memory: MemoryCache<CachedFact>
  /** Values whose changes are under way. */
  readonly #landing = new Map<string, { readonly value: unknown }>()
  /** Reads under way, which concurrent callers share: a value may be large. */
  readonly #reading = new Map<string, Promise<unknown>>()
  /** Grows when memory is dropped: what was read before is not kept in it. */
  #generation = 0
  #sizeBytes = 0
  #onBytes: ((bytes: number) => void) | undefined
  #uncheckedBytes = 0
  /** The limit while the disk is short of free space: what facts took when that was noticed. */
  #shortLimitBytes = Number.POSITIVE_INFINITY
  #isClosed: boolean
  /** Nothing is read from the disk any more: another process may own the directory. */
  #hasEnded = false
  /** Whether facts of earlier versions may lie in files. */
  #hasOlder: boolean
  /** The last change while there are such files: they are changed one after another. */
  #turn: Promise<unknown> = Promise.resolve()

  private constructor(layout: Layout, table: TableThread, options: FactsOptions, hasOlder: boolean) {
    this.#layout = layout
    this.#table = table
    this.#hasOlder = hasOlder
    this.#options = options
    this.#isClosed = options.readOnly === true
    this.#memory = new MemoryCache({
      maxBytes: options.memoryBytes,
      maxEntryBytes: options.memoryBytes / 8,
      sizeOf: ({ sizeBytes }) => sizeBytes,
    })
    table.boundFacts({
      limitBytes: () => Math.min(this.#maxBytes, this.#shortLimitBytes),
      onBytes: (sizeBytes) => {
        this.#sizeBytes = sizeBytes
        this.#onBytes?.(sizeBytes)
      },
    })
  }

  /** The facts in an open table. The caller closes them before the table. Rejects with the error of the disk. */
  static async open(layout: Layout, table: TableThread, options: FactsOptions): Promise<DiskFacts> {
    return new DiskFacts(layout, table, options, await hasOlderFacts(layout))
  }

  /** Calls `onBytes` with the space that all facts take, now and whenever it changes. */
  watch(onBytes: (bytes: number) => void): void {
    this.#onBytes = onBytes
    onBytes(this.#sizeBytes)
  }

  peek(kind: FactKind, key: string): unknown {
    const known = this.#cached(kind, key)
    return known === ABSENT ? undefined : known
  }

  async read(kind: FactKind, key: string): Promise<unknown> {
    const known = this.#cached(kind, key)
    if (known !== undefined) return known === ABSENT ? undefined : known
    const name = nameOf(kind, key)
    // A change that did not fit into memory is not visible there.
    const landing = this.#landing.get(name)
    if (landing !== undefined) return landing.value
    if (this.#hasEnded) return undefined
    const reading = this.#reading.get(name) ?? this.#readFromDisk(kind, key)
    this.#reading.set(name, reading)
    try {
      return await reading
    } finally {
      if (this.#reading.get(name) === reading) this.#reading.delete(name)
    }
  }

  async write(kind: FactKind, key: string, value: unknown): Promise<void> {
    const bytes = encodeFact(key, value)
    this.#cache(nameOf(kind, key), value, bytes.length)
    if (this.#isClosed) return
    await this.#change(kind, key, value, bytes)
  }

  async remove(kind: FactKind, key: string): Promise<void> {
    this.#cache(nameOf(kind, key), ABSENT, 0)
    if (this.#options.readOnly === true) return
    await this.#change(kind, key, undefined, undefined)
    if (this.#isClosed) await this.#table.close()
  }

  async *list(kind: 'repos'): AsyncGenerator<{ readonly key: string; readonly value: unknown }> {
    const prefix = nameOf(kind, '')
    // Changes under way may not be in the table yet.
    const changing = [...this.#landing].filter(([name]) => name.startsWith(prefix))
    const seen = new Set<string>()
    for (const [name, { value }] of changing) {
      const key = name.slice(prefix.length)
      seen.add(key)
      if (value !== undefined) yield { key, value }
    }
    for await (const { key, value } of this.#listOnDisk(kind)) {
      if (seen.has(key)) continue
      seen.add(key)
      yield { key, value }
    }
  }

  async *#listOnDisk(kind: 'repos'): AsyncGenerator<ReadFact> {
    let after: Uint8Array | undefined
    while (!this.#hasEnded) {
      const page = await this.#table.listFacts(kind, after, LIST_AT_ONCE)
      for (const { bytes } of page) {
        const fact = decodeFact(bytes)
        if (fact !== undefined) yield fact
      }
      after = page.at(-1)?.place
      if (page.length < LIST_AT_ONCE) break
    }
    if (!this.#hasOlder) return
    for await (const files of walkOlderFiles(this.#layout, kind)) {
      for (const { fact } of await readOlderFiles(this.#layout, kind, files))
        if (fact !== 'damaged') yield fact
    }
  }

  async *keys(kind: FactKind, prefix: string): AsyncGenerator<string> {
    // Changes under way may not be in the table yet.
    const landing = new Set<string>()
    for (const [name, { value }] of this.#landing) {
      if (name.startsWith(nameOf(kind, prefix)) && value !== undefined)
        landing.add(name.slice(nameOf(kind, '').length))
    }
    yield* landing
    let after: Uint8Array | undefined
    while (!this.#hasEnded) {
      const page = await this.#table.listFacts(kind, after, LIST_AT_ONCE, keyStart(prefix))
      for (const { bytes } of page) {
        const key = bytes.length === 0 ? undefined : keyOf(bytes)
        if (key !== undefined && !landing.has(key)) yield key
      }
      after = page.at(-1)?.place
      if (page.length < LIST_AT_ONCE) break
    }
  }

  /** Another process may have removed any of them: the disk is read again. Values under way stay. */
  forget(): void {
    // On a volume that cannot be written to, memory has what the disk has not.
    if (this.#options.readOnly === true) return
    this.#generation += 1
    this.#reading.clear()
    this.#memory.clear()
  }

  /** Makes them fit after the limit has become lower. Never rejects. */
  async fit(): Promise<void> {
    if (this.#sizeBytes <= this.#maxBytes || this.#isClosed) return
    // A change of nothing: each change makes the facts fit.
    const nothing = { act: 'remove', kind: 'files', id: factId('') } as const
    await this.#table.change(nothing).catch((error: unknown) => this.#options.onTrouble?.(error))
  }

  /**
   * Moves the facts of earlier versions into the table, if there are any. They can be read all the time. Ends early when
   * `signal` aborts, and goes on at the next start. Rejects with the error of the disk.
   */
  async adopt(signal: AbortSignal): Promise<void> {
    if (!this.#hasOlder) return
    for (const kind of FACT_KINDS) {
      for await (const files of walkOlderFiles(this.#layout, kind)) {
        if (signal.aborted) return
        await this.#inTurn(() => this.#adopt(kind, files))
      }
      await removeOlderFolders(this.#layout, kind)
    }
    this.#hasOlder = await hasOlderFacts(this.#layout)
  }

  /**
   * Resolves when every change made so far has reached the table. A value that is written afterwards stays in memory, and what
   * is not in memory is not found: another process may own the directory by then. A removal afterwards still removes the fact.
   */
  async close(): Promise<void> {
    this.#isClosed = true
    this.#hasEnded = true
    await this.#turn
  }

  /** The value in memory, or ABSENT when there is known to be none. Undefined when memory does not know. */
  #cached(kind: FactKind, key: string): unknown {
    const known = this.#memory.get(nameOf(kind, key))
    if (
      known !== undefined &&
      known.value !== ABSENT &&
      this.#now() - known.recordedAt >= RECORD_USE_EVERY_MS
    ) {
      known.recordedAt = this.#now()
      this.#recordUse(kind, key)
    }
    return known?.value
  }

  #cache(name: string, value: unknown, sizeBytes: number, recordedAt = this.#now()): void {
    this.#reading.delete(name)
    this.#memory.set(name, { value, sizeBytes, recordedAt })
  }

  async #readFromDisk(kind: FactKind, key: string): Promise<unknown> {
    const name = nameOf(kind, key)
    const generation = this.#generation
    const found =
      (await this.#readTable(kind, key)) ?? (this.#hasOlder ? await this.#readOlder(kind, key) : undefined)
    // A write may have happened meanwhile; its value in memory is newer than what was read.
    const newer = this.#memory.get(name)
    if (newer !== undefined) return newer.value === ABSENT ? undefined : newer.value
    if (generation !== this.#generation || !this.#reading.has(name)) return found?.value
    const usedAt = found?.usedAt ?? this.#now()
    this.#cache(name, found === undefined ? ABSENT : found.value, found?.sizeBytes ?? 0, usedAt)
    return found?.value
  }

  async #readTable(kind: FactKind, key: string): Promise<FoundFact | undefined> {
    const found = await this.#table.readFact({ kind, id: factId(key) })
    const fact = found && decodeFact(found.bytes)
    return found === undefined || fact?.key !== key
      ? undefined
      : { value: fact.value, sizeBytes: found.bytes.length, usedAt: found.usedAt }
  }

  async #readOlder(kind: FactKind, key: string): Promise<FoundFact | undefined> {
    const fact = await readOlderFact(this.#layout, kind, key)
    // Without a file, it may have been moved to the table in between.
    return fact ?? this.#readTable(kind, key)
  }

  /** Puts `bytes` on the disk, or removes the fact when they are undefined or too many. */
  async #change(kind: FactKind, key: string, value: unknown, bytes: Buffer | undefined): Promise<void> {
    const name = nameOf(kind, key)
    const landing = { value }
    this.#landing.set(name, landing)
    const fits = bytes !== undefined && bytes.length <= this.#maxBytes / 4
    const at = { kind, id: factId(key) }
    // The old value is no longer true, also where the new one is not stored.
    const change = fits
      ? ({ act: 'put', ...at, bytes, usedAt: this.#now() } as const)
      : ({ act: 'remove', ...at } as const)
    try {
      if (this.#hasOlder) await this.#inTurn(() => this.#replaceOlder(kind, key, change))
      else await this.#table.change(change)
    } finally {
      if (this.#landing.get(name) === landing) this.#landing.delete(name)
    }
    if (fits) this.#checkDisk(bytes.length)
  }

  /** The file goes first: a crash in between costs the fact, and does not bring its old value back. */
  async #replaceOlder(kind: FactKind, key: string, change: FactChange): Promise<void> {
    await removeOlderFact(this.#layout, kind, key)
    await this.#table.change(change)
  }

  async #adopt(kind: FactKind, files: readonly string[]): Promise<void> {
    const found = await readOlderFiles(this.#layout, kind, files)
    const puts = found.map(async ({ fact }) => {
      if (fact === 'damaged') return
      const at = { kind, id: factId(fact.key), usedAt: fact.usedAt }
      // A fact that is in the table already is newer.
      await this.#table.change({
        act: 'put',
        ...at,
        bytes: encodeFact(fact.key, fact.value),
        ifAbsent: true,
      })
    })
    await Promise.all(puts)
    for (const { file, fact } of found) {
      if (fact !== 'damaged') await unlinkIfThere(file)
      // A folder, say. It holds up no other, and is never read.
      else await unlinkIfThere(file).catch(() => undefined)
    }
  }

  /** Runs `work` after all that was given before. */
  #inTurn(work: () => Promise<void>): Promise<void> {
    const done = this.#turn.then(work)
    this.#turn = done.catch(() => undefined)
    return done
  }

  /** If this fails, the fact only looks older than it is. */
  #recordUse(kind: FactKind, key: string): void {
    if (this.#isClosed) return
    this.#table.change({ act: 'use', kind, id: factId(key), usedAt: this.#now() }).catch(() => undefined)
  }

  /** On a disk that is nearly full, facts take no more than they do. The rest may be taken by other programs. */
  #checkDisk(writtenBytes: number): void {
    const { shortBytes, onTrouble } = this.#options
    this.#uncheckedBytes += writtenBytes
    if (shortBytes === undefined || this.#uncheckedBytes < CHECK_DISK_EVERY_BYTES) return
    this.#uncheckedBytes = 0
    shortBytes().then(
      (short) => {
        this.#shortLimitBytes = short > 0 ? this.#sizeBytes : Number.POSITIVE_INFINITY
      },
      (error: unknown) => onTrouble?.(error),
    )
  }

  get #maxBytes(): number {
    return this.#options.maxBytes ?? Number.POSITIVE_INFINITY
  }

  #now(): number {
    return (this.#options.now ?? Date.now)()
  }
}

interface FoundFact {
  readonly value: unknown
  readonly sizeBytes: number
  readonly usedAt: number
}

function nameOf(kind: FactKind, key: string): string {
  return `${kind} ${key}`
}
