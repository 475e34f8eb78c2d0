// The books of the disk: what is stored, what is promised to pulls under way, who goes when room is needed.
// Kept as things happen, never by walking the tree on a timer. Knows no paths; removing bytes is the caller's.

import { setImmediate as yieldToEventLoop } from 'node:timers/promises'
import type { EvictionReason, Observer } from '../telemetry/observer.ts'
import type { StoreStatus } from './store.ts'

export interface LedgerEntry {
  sizeBytes: number
  usedAt: number
  /** Readers and pulls that need the bytes to stay. */
  pins: number
}

/** Room that was promised. Give back what is not used; may be called any number of times in any order. */
export interface Reservation {
  /** How much of it is neither spent nor released. */
  readonly leftBytes: number
  /** Turns up to `bytes` of the promise into stored bytes of an entry (the caller has called `add`); says how many. */
  spend(bytes: number): number
  /** Gives the rest back. */
  release(): void
}

export interface LedgerOptions {
  readonly maxBytes: number | undefined
  readonly minFreeBytes: number
  /** Bytes the file system would still give us. */
  readonly freeBytes: () => Promise<number>
  /** Removes the bytes of an entry from the disk. An entry whose removal fails stays in the books. */
  readonly remove: (name: string) => Promise<void>
  /** The disk failed while room was made; nobody else hears of it. */
  readonly onTrouble?: (error: unknown) => void
  readonly now: () => number
  readonly observer: Observer
}

// So many entries are made in a few milliseconds.
const LOAD_STEP = 10_000

export class Ledger {
  readonly #options: LedgerOptions
  // Insertion order is order of use: the first entry is the least recently used.
  #entries = new Map<string, LedgerEntry>()
  #storedBytes = 0
  #reservedBytes = 0
  #pinnedBytes = 0
  #factBytes = 0
  #queue: Promise<unknown> = Promise.resolve()
  // Bytes that are being removed: their names may not be used again before that is over.
  readonly #removing = new Map<string, Promise<void>>()
  // What has gone since the walk at start began, which may have seen it; undefined once the walk is over.
  #gone: Set<string> | undefined = new Set()

  constructor(options: LedgerOptions) {
    this.#options = options
  }

  get storedBytes(): number {
    return this.#storedBytes
  }

  get reservedBytes(): number {
    return this.#reservedBytes
  }

  /** What the facts take beside the entries. They make room for themselves, and for nothing else. */
  set factBytes(bytes: number) {
    this.#factBytes = bytes
    this.#report()
  }

  get count(): number {
    return this.#entries.size
  }

  has(name: string): boolean {
    return this.#entries.has(name)
  }

  status(): StoreStatus {
    return {
      sizeBytes: this.#storedBytes + this.#factBytes,
      factBytes: this.#factBytes,
      reservedBytes: this.#reservedBytes,
      limitBytes: this.#options.maxBytes,
      blobs: this.#entries.size,
    }
  }

  /** Entries from the least to the most recently used. */
  entries(): IterableIterator<[string, Readonly<LedgerEntry>]> {
    return this.#entries.entries()
  }

  /**
   * Enters what the walk at start found, oldest first, once; in steps, so that nobody waits for a million of them. An
   * entry that is already known stays as it is, and one that has gone since stays away.
   */
  async load(
    found: readonly { readonly name: string; readonly sizeBytes: number; readonly usedAt: number }[],
  ): Promise<void> {
    const older = new Map<string, LedgerEntry>()
    let sum = 0
    for (const { name, sizeBytes, usedAt } of found) {
      older.set(name, { sizeBytes, usedAt, pins: 0 })
      sum += sizeBytes
      if (older.size % LOAD_STEP === 0) await yieldToEventLoop()
    }
    const takeOut = (name: string): void => {
      sum -= older.get(name)?.sizeBytes ?? 0
      older.delete(name)
    }
    for (const name of this.#gone ?? []) takeOut(name)
    for (const [name, entry] of this.#entries) {
      takeOut(name)
      older.set(name, entry)
    }
    this.#entries = older
    this.#storedBytes += sum
    this.#gone = undefined
    this.#report()
  }

  /** Enters bytes that are on the disk now, or corrects their size. */
  add(name: string, sizeBytes: number): void {
    const entry = this.#entries.get(name)
    if (entry === undefined) {
      this.#entries.set(name, { sizeBytes, usedAt: this.#options.now(), pins: 0 })
      this.#storedBytes += sizeBytes
    } else {
      this.#storedBytes += sizeBytes - entry.sizeBytes
      if (entry.pins > 0) this.#pinnedBytes += sizeBytes - entry.sizeBytes
      entry.sizeBytes = sizeBytes
    }
    this.#report()
  }

  /** Forgets an entry whose bytes are gone. */
  drop(name: string): void {
    this.#gone?.add(name)
    const entry = this.#entries.get(name)
    if (entry === undefined) return
    this.#entries.delete(name)
    this.#storedBytes -= entry.sizeBytes
    if (entry.pins > 0) this.#pinnedBytes -= entry.sizeBytes
    this.#report()
  }

  /** Notes a use; returns when the use before it was, for whoever records recency on the disk. */
  touch(name: string): number | undefined {
    const entry = this.#entries.get(name)
    if (entry === undefined) return undefined
    const before = entry.usedAt
    entry.usedAt = this.#options.now()
    this.#entries.delete(name)
    this.#entries.set(name, entry)
    return before
  }

  /** Keeps an entry from eviction until the returned function is called (once or more). */
  pin(name: string): () => void {
    const entry = this.#entries.get(name)
    if (entry === undefined) return () => {}
    if (entry.pins === 0) this.#pinnedBytes += entry.sizeBytes
    entry.pins += 1
    let pinned = true
    return () => {
      if (!pinned) return
      pinned = false
      entry.pins -= 1
      // An entry that was dropped meanwhile is in no sum any more.
      if (entry.pins === 0 && this.#entries.get(name) === entry) this.#pinnedBytes -= entry.sizeBytes
    }
  }

  /**
   * Promises room for `bytes`, evicting the least recently used entries where that is needed and enough.
   * Undefined when there can be no room, or when the disk does not say: the request then passes through. Nothing is
   * evicted where all that may go would not be enough.
   */
  async reserve(bytes: number): Promise<Reservation | undefined> {
    // One at a time: two callers must not both count on the same free bytes.
    const turn = this.#queue.then(async () => {
      try {
        return await this.#reserve(bytes)
      } catch (error) {
        this.#options.onTrouble?.(error)
        return undefined
      }
    })
    this.#queue = turn
    return turn
  }

  /** Makes room after the bounds have changed, and reports them. Resolves when nothing more may go. */
  async fit(): Promise<void> {
    this.#report()
    const room = await this.reserve(0)
    room?.release()
  }

  async #reserve(bytes: number): Promise<Reservation | undefined> {
    const { maxBytes } = this.#options
    if (maxBytes !== undefined && bytes > maxBytes) return undefined
    let lack = await this.#lacking(bytes)
    // What evictions should give before it is asked whether they give anything: a file system that frees late, or
    // has other tenants, must not be answered by throwing everything away.
    let expected = lack?.bytes ?? 0
    if (expected > this.#storedBytes - this.#pinnedBytes) return undefined
    while (lack !== undefined) {
      const before = lack.bytes
      const evicted = await this.#evictOne(lack.reason)
      if (evicted === undefined) return undefined
      expected -= evicted
      lack = await this.#lacking(bytes)
      if (lack !== undefined && expected <= 0 && lack.bytes >= before) return undefined
    }
    return this.#promise(bytes)
  }

  /** How much room is missing for `bytes` more, by whichever bound is further away. */
  async #lacking(bytes: number): Promise<{ bytes: number; reason: EvictionReason } | undefined> {
    const { maxBytes, minFreeBytes } = this.#options
    const free = await this.#options.freeBytes()
    const overFree = this.#reservedBytes + bytes + minFreeBytes - free
    const overMax =
      maxBytes === undefined
        ? 0
        : this.#storedBytes + this.#factBytes + this.#reservedBytes + bytes - maxBytes
    if (overFree <= 0 && overMax <= 0) return undefined
    return overMax >= overFree
      ? { bytes: overMax, reason: 'max-size' }
      : { bytes: overFree, reason: 'min-free' }
  }

  #promise(bytes: number): Reservation {
    let left = bytes
    this.#reservedBytes += bytes
    const take = (amount: number): number => {
      const taken = Math.min(amount, left)
      left -= taken
      this.#reservedBytes -= taken
      return taken
    }
    return {
      get leftBytes() {
        return left
      },
      spend: take,
      release: () => void take(left),
    }
  }

  /** The size of the entry that went, or undefined when there is none that may go. */
  async #evictOne(reason: EvictionReason): Promise<number | undefined> {
    for (const [name, entry] of this.#entries) {
      if (entry.pins > 0) continue
      return (await this.evict(name, reason)) ? entry.sizeBytes : undefined
    }
    return undefined
  }

  /** Removes one entry and its bytes; false when it is unknown or pinned, or cannot be removed. */
  async evict(name: string, reason: EvictionReason): Promise<boolean> {
    const entry = this.#entries.get(name)
    if (entry === undefined || entry.pins > 0) return false
    this.drop(name)
    const removal = this.#options.remove(name).then(
      () => true,
      (error: unknown) => {
        this.#options.onTrouble?.(error)
        return false
      },
    )
    const over = removal.then(() => {
      this.#removing.delete(name)
    })
    this.#removing.set(name, over)
    const removed = await removal
    if (removed) this.#options.observer.evicted(reason, entry.sizeBytes)
    // As the one used last: what cannot be removed must not stand before what can.
    else if (!this.#entries.has(name)) this.add(name, entry.sizeBytes)
    return removed
  }

  /** Resolves when an eviction of `name` that is under way is over: only then may its files be made again. */
  async removed(name: string): Promise<void> {
    await this.#removing.get(name)
  }

  /** Resolves when nothing is being made room for or removed. */
  async settled(): Promise<void> {
    await this.#queue
    await Promise.all(this.#removing.values())
  }

  #report(): void {
    this.#options.observer.storeChanged(this.status())
  }
}
