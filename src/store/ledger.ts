// Space accounting for the disk: what is stored, what is promised to partials, and what is evicted when room is needed.
// It is updated as things happen, never by scanning the tree on a timer. It knows names and sizes, no paths: `remove` of
// the caller removes the bytes. Facts are counted here as one sum; table/fact-rows.ts evicts them.

import { setImmediate as yieldToEventLoop } from 'node:timers/promises'
import type { EvictionReason, Observer } from '../telemetry/observer.ts'
import type { StoreStatus } from './store.ts'

export interface LedgerEntry {
  sizeBytes: number
  usedAt: number
  /** The use that was last recorded on the disk. */
  recordedAt: number
  /** How many readers and partials keep it from eviction. */
  pins: number
  /** Whether the operator wants it kept: `Ledger.keep`. */
  isKept: boolean
  /** Whether its removal gives room back to the file system. What lies in the table leaves room to later rows only. */
  readonly isFile: boolean
  /** Whether it is a git repository. */
  readonly isGit: boolean
}

/** Promised room. The holder gives back what it does not use. Both methods may be called any number of times. */
export interface Reservation {
  /** How much of it is neither spent nor released. */
  readonly leftBytes: number
  /** Ends up to `bytes` of the promise, because they are stored now: the caller has counted them by `add`. Returns how many. */
  spend(bytes: number): number
  /** Ends the rest of the promise. */
  release(): void
}

export interface LedgerOptions {
  readonly maxBytes: number | undefined
  readonly minFreeBytes: number
  /** Bytes that the file system has free for us. */
  readonly freeBytes: () => Promise<number>
  /** Removes the bytes of an entry from the disk. If it rejects, the entry stays. */
  readonly remove: (name: string) => Promise<void>
  /** Whether the bytes of an entry are in a file of their own. Without it, all are. Others are in the table. */
  readonly isFile?: (name: string, sizeBytes: number) => boolean
  /** Whether an entry is a git repository. Without it, none is. */
  readonly isGit?: (name: string) => boolean
  /** How many bytes of the table are free at first. */
  readonly tableRoomBytes?: number
  /** Called with errors of the disk while room was made. They are reported nowhere else. */
  readonly onTrouble?: (error: unknown) => void
  readonly now: () => number
  readonly observer: Observer
}

/**
 * What the file system has free is asked again after so long, and before that where it may be short. Until then, all that was
 * promised since counts as taken, and so does a margin for what else is written to the disk.
 */
const FREE_KNOWN_MS = 1000
const FREE_MARGIN_BYTES = 64 * 1024 * 1024
/** How exact the time of last use is on the disk. It only has to survive a restart. */
const RECORD_USE_EVERY_MS = 3_600_000
// Entries that `load` makes before it yields to the event loop: a few milliseconds.
const LOAD_STEP = 10_000

export class Ledger {
  readonly #options: LedgerOptions
  #entries = new Entries()
  #reservedBytes = 0
  #pinnedBytes = 0
  #factBytes = 0
  // What entries that have left the table have freed there. It gives nothing back to the disk, and later entries take it.
  #tableRoomBytes: number
  /** What the file system had free, less what was promised since. */
  #free = { knownAt: Number.NEGATIVE_INFINITY, bytes: 0 }
  #queue: Promise<unknown> = Promise.resolve()
  // Removals under way, by name: the files of a name must not be made again before its removal is over.
  readonly #removing = new Map<string, Promise<void>>()
  #isWanted: (name: string) => boolean = () => false
  // Names dropped since the scan at start began, which may have found them; undefined once it has ended.
  #gone: Set<string> | undefined = new Set()

  constructor(options: LedgerOptions) {
    this.#options = options
    this.#tableRoomBytes = options.tableRoomBytes ?? 0
  }

  get storedBytes(): number {
    return this.#entries.sizeBytes
  }

  get reservedBytes(): number {
    return this.#reservedBytes
  }

  /** Whether everything that is stored has an entry. */
  get isLoaded(): boolean {
    return this.#gone === undefined
  }

  /** What facts take beside the entries. Only facts are evicted for facts, and only entries for entries. */
  set factBytes(bytes: number) {
    this.#factBytes = bytes
    this.#report()
  }

  get count(): number {
    return this.#entries.all.size
  }

  has(name: string): boolean {
    return this.#entries.all.has(name)
  }

  /** What the entry of that name takes. Undefined if there is none, or if it has not been counted yet. */
  sizeOf(name: string): number | undefined {
    return this.#entries.all.get(name)?.sizeBytes
  }

  status(): StoreStatus {
    return {
      sizeBytes: this.#entries.sizeBytes + this.#factBytes,
      factBytes: this.#factBytes,
      reservedBytes: this.#reservedBytes,
      limitBytes: this.#options.maxBytes,
      blobs: this.#entries.all.size,
      gits: this.#entries.gits,
      gitBytes: this.#entries.gitBytes,
    }
  }

  /** Entries from the least to the most recently used. */
  entries(): IterableIterator<[string, Readonly<LedgerEntry>]> {
    return this.#entries.all.entries()
  }

  /**
   * Enters what the scan at start found, least recently used first. It is called once. It yields to the event loop between
   * steps, so that requests are served meanwhile. A name that is known already keeps its entry; one that was dropped since
   * the scan began stays away.
   */
  async load(
    found: readonly { readonly name: string; readonly sizeBytes: number; readonly usedAt: number }[],
  ): Promise<void> {
    const entries = new Entries()
    for (const { name, sizeBytes, usedAt } of found) {
      const isFile = this.#isFile(name, sizeBytes)
      const isGit = this.#options.isGit?.(name) ?? false
      entries.enter(name, { sizeBytes, usedAt, recordedAt: usedAt, pins: 0, isKept: false, isFile, isGit })
      if (entries.all.size % LOAD_STEP === 0) await yieldToEventLoop()
    }
    for (const name of this.#gone ?? []) entries.leave(name)
    for (const [name, entry] of this.#entries.all) {
      entries.leave(name)
      entries.enter(name, entry)
    }
    this.#entries = entries
    this.#gone = undefined
    // What is wanted may have changed while the entries were made.
    this.keep(this.#isWanted)
    this.#report()
  }

  /** Enters bytes that are on the disk now, or corrects the size of an entry. */
  add(name: string, sizeBytes: number): void {
    const entry = this.#entries.all.get(name)
    if (entry === undefined) {
      const now = this.#options.now()
      const isFile = this.#isFile(name, sizeBytes)
      if (!isFile) this.#tableRoomBytes = Math.max(0, this.#tableRoomBytes - sizeBytes)
      const isGit = this.#options.isGit?.(name) ?? false
      const isKept = this.#isWanted(name)
      this.#entries.enter(name, { sizeBytes, usedAt: now, recordedAt: now, pins: 0, isKept, isFile, isGit })
      if (isKept) this.#pinnedBytes += sizeBytes
    } else {
      if (isHeld(entry)) this.#pinnedBytes += sizeBytes - entry.sizeBytes
      this.#entries.resize(entry, sizeBytes)
    }
    this.#report()
  }

  /** Drops an entry whose bytes are gone. */
  drop(name: string): void {
    this.#gone?.add(name)
    const entry = this.#entries.all.get(name)
    if (entry === undefined) return
    this.#entries.leave(name)
    if (!entry.isFile) this.#tableRoomBytes += entry.sizeBytes
    if (isHeld(entry)) this.#pinnedBytes -= entry.sizeBytes
    this.#report()
  }

  /**
   * Counts a use. `due`: the caller records it on the disk, because the last record is older than `RECORD_USE_EVERY_MS`. `unknown`:
   * there is no such entry.
   */
  touch(name: string): 'due' | 'recorded' | 'unknown' {
    const entry = this.#entries.all.get(name)
    if (entry === undefined) return 'unknown'
    const now = this.#options.now()
    entry.usedAt = now
    this.#entries.leave(name)
    this.#entries.enter(name, entry)
    if (now - entry.recordedAt < RECORD_USE_EVERY_MS) return 'recorded'
    entry.recordedAt = now
    return 'due'
  }

  /** Keeps an entry from eviction until the returned function is called; further calls of it are harmless. */
  pin(name: string): () => void {
    const entry = this.#entries.all.get(name)
    if (entry === undefined) return () => {}
    if (!isHeld(entry)) this.#pinnedBytes += entry.sizeBytes
    entry.pins += 1
    let pinned = true
    return () => {
      if (!pinned) return
      pinned = false
      entry.pins -= 1
      // An entry that was dropped meanwhile no longer counts.
      if (!isHeld(entry) && this.#entries.all.get(name) === entry) this.#pinnedBytes -= entry.sizeBytes
    }
  }

  /**
   * Keeps the entries from eviction whose names `isWanted` accepts, now and when they are added, until the next call. It must be
   * fast: it is asked about every entry.
   */
  keep(isWanted: (name: string) => boolean): void {
    this.#isWanted = isWanted
    for (const [name, entry] of this.#entries.all) entry.isKept = isWanted(name)
    this.#pinnedBytes = this.#countPinned()
  }

  /** Keeps these as well, which `isWanted` accepts from now on. For a few: `keep` looks at every entry. */
  keepAlso(names: Iterable<string>): void {
    for (const name of names) {
      const entry = this.#entries.all.get(name)
      if (entry === undefined || entry.isKept) continue
      if (!isHeld(entry)) this.#pinnedBytes += entry.sizeBytes
      entry.isKept = true
    }
  }

  #countPinned(): number {
    let bytes = 0
    for (const entry of this.#entries.all.values()) if (isHeld(entry)) bytes += entry.sizeBytes
    return bytes
  }

  /** Whether the entry cannot be evicted now: a reader, a partial or the operator keeps it. */
  isHeld(name: string): boolean {
    const entry = this.#entries.all.get(name)
    return entry !== undefined && isHeld(entry)
  }

  /** Whether a reader or a partial keeps the entry from eviction. */
  isPinned(name: string): boolean {
    return (this.#entries.all.get(name)?.pins ?? 0) > 0
  }

  /**
   * Promises room for `bytes`, and evicts the least recently used entries if that is needed. Undefined when there can be no
   * room, or when the disk fails: the request then passes through. If evicting all unpinned entries would not be enough,
   * nothing is evicted. When the disk is short, only files are evicted for a file: what leaves the table gives nothing back to the
   * disk. Never rejects.
   */
  async reserve(
    bytes: number,
    { isFile = true }: { readonly isFile?: boolean } = {},
  ): Promise<Reservation | undefined> {
    // One at a time: two callers must not count on the same free bytes.
    const reservation = this.#queue.then(async () => {
      try {
        return await this.#reserve(bytes, isFile)
      } catch (error) {
        this.#options.onTrouble?.(error)
        return undefined
      }
    })
    this.#queue = reservation
    return reservation
  }

  /**
   * Whether `bytes` more can be stored while all held entries stay, and further ones of `keptBytes`; `rowBytes` of them go into the
   * table. It is an estimate, and evicts nothing. Rejects with the error of the disk.
   */
  async hasRoom(bytes: number, keptBytes: number, rowBytes = 0): Promise<boolean> {
    const lack = await this.#lacking(bytes, Math.min(rowBytes, this.#tableRoomBytes))
    return lack === undefined || lack.bytes <= this.#evictable(lack.reason, true, keptBytes)
  }

  /** How much could be evicted if all held entries must stay, and further ones of `keptBytes`. */
  #evictable(reason: EvictionReason, isFile: boolean, keptBytes = 0): number {
    const { sizeBytes, fileBytes } = this.#entries
    return (onlyFiles(reason, isFile) ? fileBytes : sizeBytes) - this.#pinnedBytes - keptBytes
  }

  /** Makes room after the limits have changed, and reports them. Never rejects. */
  async fit(): Promise<void> {
    this.#report()
    const room = await this.reserve(0)
    room?.release()
  }

  async #reserve(bytes: number, isFile: boolean): Promise<Reservation | undefined> {
    const { maxBytes } = this.#options
    if (maxBytes !== undefined && bytes > maxBytes) return undefined
    const roomBytes = (): number => (isFile ? 0 : this.#tableRoomBytes)
    let lack = await this.#lacking(bytes, roomBytes())
    // How many bytes evictions are to free before we check whether the file system has more room. If it frees late, or
    // other programs take the room, we must not evict everything.
    let expected = lack?.bytes ?? 0
    if (lack !== undefined && expected > this.#evictable(lack.reason, isFile)) return undefined
    while (lack !== undefined) {
      const before = lack.bytes
      const evicted = await this.#evictOne(lack.reason, onlyFiles(lack.reason, isFile))
      if (evicted === undefined) return undefined
      expected -= evicted
      lack = await this.#lacking(bytes, roomBytes())
      if (lack !== undefined && expected <= 0 && lack.bytes >= before) return undefined
    }
    return this.#promise(bytes)
  }

  /**
   * How much room is missing for `bytes` more, of which `roomBytes` fit into the free pages of the table, by the limit that is exceeded
   * most; undefined when there is enough.
   */
  async #lacking(
    bytes: number,
    roomBytes: number,
  ): Promise<{ bytes: number; reason: EvictionReason } | undefined> {
    const { maxBytes, minFreeBytes } = this.#options
    const needed = this.#reservedBytes + bytes + minFreeBytes - roomBytes
    const overFree = needed - (await this.#freeBytes(needed))
    const overMax =
      maxBytes === undefined
        ? 0
        : this.#entries.sizeBytes + this.#factBytes + this.#reservedBytes + bytes - maxBytes
    if (overFree <= 0 && overMax <= 0) return undefined
    return overMax >= overFree
      ? { bytes: overMax, reason: 'max-size' }
      : { bytes: overFree, reason: 'min-free' }
  }

  /** What the file system has free, or less; what it has exactly where that may decide whether `needed` bytes are there. */
  async #freeBytes(needed: number): Promise<number> {
    const age = this.#options.now() - this.#free.knownAt
    const isKnown = age >= 0 && age < FREE_KNOWN_MS
    if (!isKnown || this.#free.bytes - FREE_MARGIN_BYTES < needed)
      this.#free = { knownAt: this.#options.now(), bytes: await this.#options.freeBytes() }
    return this.#free.bytes
  }

  #promise(bytes: number): Reservation {
    let left = bytes
    this.#reservedBytes += bytes
    this.#free.bytes -= bytes
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

  /** Evicts the least recently used entry. Resolves with its size; undefined when none can go. */
  async #evictOne(reason: EvictionReason, onlyFiles: boolean): Promise<number | undefined> {
    for (const [name, entry] of onlyFiles ? this.#entries.files : this.#entries.all) {
      if (isHeld(entry)) continue
      return (await this.evict(name, reason)) ? entry.sizeBytes : undefined
    }
    return undefined
  }

  /** Removes an entry and its bytes. False when it is unknown or pinned, or cannot be removed. */
  async evict(name: string, reason: EvictionReason): Promise<boolean> {
    const entry = this.#entries.all.get(name)
    if (entry === undefined || isHeld(entry)) return false
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
    // At the end of the order: an entry that cannot be removed must not block those that can.
    else if (!this.has(name)) this.add(name, entry.sizeBytes)
    return removed
  }

  /** Resolves when no eviction of `name` is under way: only then may its files be made again. */
  async removed(name: string): Promise<void> {
    await this.#removing.get(name)
  }

  /** Resolves when no room is being made and nothing is being removed. */
  async settled(): Promise<void> {
    await this.#queue
    await Promise.all(this.#removing.values())
  }

  #isFile(name: string, sizeBytes: number): boolean {
    return this.#options.isFile?.(name, sizeBytes) ?? true
  }

  #report(): void {
    this.#options.observer.storeChanged(this.status())
  }
}

/** Whether only files can make room. What leaves the table gives nothing back to the disk. */
function onlyFiles(reason: EvictionReason, isFile: boolean): boolean {
  return reason === 'min-free' && isFile
}

/** Whether something keeps the entry from eviction. */
function isHeld({ pins, isKept }: LedgerEntry): boolean {
  return pins > 0 || isKept
}

/** Entries and their sums. Insertion order is order of use: the first entry is the least recently used. */
class Entries {
  readonly all = new Map<string, LedgerEntry>()
  readonly files = new Map<string, LedgerEntry>()
  sizeBytes = 0
  /** The part of `sizeBytes` that files take. */
  fileBytes = 0
  /** Git repositories, and their part of `sizeBytes`. */
  gits = 0
  gitBytes = 0

  /** Adds an entry that is not there, as the one used last. */
  enter(name: string, entry: LedgerEntry): void {
    this.all.set(name, entry)
    if (entry.isFile) this.files.set(name, entry)
    if (entry.isGit) this.gits += 1
    this.#count(entry, entry.sizeBytes)
  }

  leave(name: string): void {
    const entry = this.all.get(name)
    if (entry === undefined) return
    this.all.delete(name)
    this.files.delete(name)
    if (entry.isGit) this.gits -= 1
    this.#count(entry, -entry.sizeBytes)
  }

  resize(entry: LedgerEntry, sizeBytes: number): void {
    this.#count(entry, sizeBytes - entry.sizeBytes)
    entry.sizeBytes = sizeBytes
  }

  #count(entry: LedgerEntry, bytes: number): void {
    this.sizeBytes += bytes
    if (entry.isFile) this.fileBytes += bytes
    if (entry.isGit) this.gitBytes += bytes
  }
}
