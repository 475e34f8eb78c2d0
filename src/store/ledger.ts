// The books of the disk: what is stored, what is promised to pulls under way, who goes when room is needed.
// Kept as things happen, never by walking the tree on a timer. Knows no paths; removing bytes is the caller's.

import type { EvictionReason, Observer } from '../telemetry/observer.ts'

export interface LedgerEntry {
  sizeBytes: number
  usedAt: number
  /** Readers and pulls that need the bytes to stay. */
  pins: number
}

/** Room that was promised. Give back what is not used; may be called any number of times in any order. */
export interface Reservation {
  readonly bytes: number
  /** Turns `bytes` of the promise into stored bytes of an entry (the caller has called `add`). */
  spend(bytes: number): void
  /** Gives the rest back. */
  release(): void
}

export interface LedgerOptions {
  readonly maxBytes: number | undefined
  readonly minFreeBytes: number
  /** Bytes the file system would still give us. */
  readonly freeBytes: () => Promise<number>
  /** Removes the bytes of an entry from the disk. A failure leaves litter, not a wrong answer. */
  readonly remove: (name: string) => Promise<void>
  readonly now: () => number
  readonly observer: Observer
}

export class Ledger {
  readonly #options: LedgerOptions
  // Insertion order is order of use: the first entry is the least recently used.
  readonly #entries = new Map<string, LedgerEntry>()
  #storedBytes = 0
  #reservedBytes = 0
  #queue: Promise<unknown> = Promise.resolve()

  constructor(options: LedgerOptions) {
    this.#options = options
  }

  get storedBytes(): number {
    return this.#storedBytes
  }

  get reservedBytes(): number {
    return this.#reservedBytes
  }

  get count(): number {
    return this.#entries.size
  }

  /** Entries from the least to the most recently used. */
  entries(): IterableIterator<[string, Readonly<LedgerEntry>]> {
    return this.#entries.entries()
  }

  /** Enters what the walk at start found, oldest first; an entry that is already known stays as it is. */
  load(
    found: readonly { readonly name: string; readonly sizeBytes: number; readonly usedAt: number }[],
  ): void {
    const newer = [...this.#entries]
    this.#entries.clear()
    for (const { name, sizeBytes, usedAt } of found) {
      this.#entries.set(name, { sizeBytes, usedAt, pins: 0 })
      this.#storedBytes += sizeBytes
    }
    for (const [name, entry] of newer) {
      this.#storedBytes -= this.#entries.get(name)?.sizeBytes ?? 0
      this.#entries.delete(name)
      this.#entries.set(name, entry)
    }
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
      entry.sizeBytes = sizeBytes
    }
    this.#report()
  }

  /** Forgets an entry whose bytes are gone. */
  drop(name: string): void {
    const entry = this.#entries.get(name)
    if (entry === undefined) return
    this.#entries.delete(name)
    this.#storedBytes -= entry.sizeBytes
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
    entry.pins += 1
    let pinned = true
    return () => {
      if (pinned) entry.pins -= 1
      pinned = false
    }
  }

  /**
   * Promises room for `bytes`, evicting the least recently used entries where that is needed and enough.
   * Undefined when there can be no room: the request then passes through, and nothing has been evicted for it
   * that would not have been needed anyway.
   */
  async reserve(bytes: number): Promise<Reservation | undefined> {
    // One at a time: two callers must not both count on the same free bytes.
    const turn = this.#queue.then(() => this.#reserve(bytes))
    this.#queue = turn.catch(() => undefined)
    return turn
  }

  async #reserve(bytes: number): Promise<Reservation | undefined> {
    const { maxBytes } = this.#options
    if (maxBytes !== undefined && bytes > maxBytes) return undefined
    const lacking = async (): Promise<{ bytes: number; reason: EvictionReason } | undefined> => {
      if (maxBytes !== undefined) {
        const over = this.#storedBytes + this.#reservedBytes + bytes - maxBytes
        if (over > 0) return { bytes: over, reason: 'max-size' }
      }
      const free = await this.#options.freeBytes()
      const over = this.#reservedBytes + bytes + this.#options.minFreeBytes - free
      return over > 0 ? { bytes: over, reason: 'min-free' } : undefined
    }
    let lack = await lacking()
    if (lack !== undefined && lack.bytes > this.#evictableBytes()) return undefined
    while (lack !== undefined) {
      if (!(await this.#evictOne(lack.reason))) return undefined
      lack = await lacking()
    }
    return this.#promise(bytes)
  }

  #promise(bytes: number): Reservation {
    let left = bytes
    this.#reservedBytes += bytes
    const take = (amount: number): void => {
      const taken = Math.min(amount, left)
      left -= taken
      this.#reservedBytes -= taken
    }
    return { bytes, spend: take, release: () => take(left) }
  }

  #evictableBytes(): number {
    let bytes = 0
    for (const entry of this.#entries.values()) if (entry.pins === 0) bytes += entry.sizeBytes
    return bytes
  }

  async #evictOne(reason: EvictionReason): Promise<boolean> {
    for (const [name, entry] of this.#entries) {
      if (entry.pins > 0) continue
      await this.evict(name, reason)
      return true
    }
    return false
  }

  /** Removes one entry and its bytes; false when it is unknown or pinned. */
  async evict(name: string, reason: EvictionReason): Promise<boolean> {
    const entry = this.#entries.get(name)
    if (entry === undefined || entry.pins > 0) return false
    this.drop(name)
    await this.#options.remove(name)
    this.#options.observer.evicted(reason, entry.sizeBytes)
    return true
  }

  #report(): void {
    this.#options.observer.storeChanged({
      sizeBytes: this.#storedBytes,
      limitBytes: this.#options.maxBytes,
      blobs: this.#entries.size,
    })
  }
}
