// The space that facts take on the disk, and which of them are evicted when it is too much. Facts are many and small, so a
// fact has no entry of its own: there is one sum for each shard, a directory that holds 1/256 of a kind. What to evict is
// found by scanning one shard after another. Each shard is a fair sample, because file names are digests.

import { lstat, readdir } from 'node:fs/promises'
import path from 'node:path'
import { ifThere } from '../atomic.ts'
import type { Layout } from '../layout.ts'
import { FACT_KINDS, type FactKind } from '../store.ts'

// The unit in which a file takes space, however short it is.
const BLOCK_BYTES = 4096
const SHARDS = 256
/** How many files are compared for their age before one is evicted. With fewer in all, the oldest of all go. */
const SAMPLE_FILES = 64
/** How much may be written before the free space of the disk is checked again. */
const CHECK_DISK_EVERY_BYTES = 1024 * 1024
/** How much more than needed is evicted, in a large store. */
const SPARE_BYTES = 4 * 1024 * 1024
/** How many files are examined concurrently. Few, because readers of blobs use the same thread pool. */
const CONCURRENT_STATS = 32

export interface FactSpaceOptions {
  readonly layout: Layout
  /** The most that facts may take; undefined for no bound. It is read at each use, because it may change. */
  readonly bounds: { readonly maxBytes?: number }
  /** How many bytes the disk lacks of the free space that is always left; 0 when it has enough. */
  readonly shortBytes: () => Promise<number>
  /** Removes a fact, unless it is being changed at this moment. Resolves with whether it was removed. */
  readonly remove: (file: string) => Promise<boolean>
  readonly onBytes: (bytes: number) => void
  /** Called with errors of the disk while room was made. They are reported nowhere else. */
  readonly onTrouble?: (error: unknown) => void
}

/** A fact by its file, and the space that it is known to take. */
export interface FactSize {
  readonly kind: FactKind
  readonly file: string
  readonly bytes: number
}

interface FactFile {
  readonly file: string
  readonly bytes: number
  readonly usedAt: number
}

/** The space that a file of `sizeBytes` takes on the disk. */
export function blocksOf(sizeBytes: number): number {
  return Math.max(1, Math.ceil(sizeBytes / BLOCK_BYTES)) * BLOCK_BYTES
}

/** The space that a fact takes on the disk now; 0 when it does not exist. */
export async function occupiedBytes(file: string): Promise<number> {
  return (await statFact(file))?.bytes ?? 0
}

export class FactSpace {
  readonly #options: FactSpaceOptions
  // By directory. What another process changes (`hubmirror prune`) is noticed when the shard is scanned.
  readonly #shards = new Map<string, number>()
  readonly #kinds = new Map<FactKind, number>(FACT_KINDS.map((kind) => [kind, 0]))
  // The next shard to scan, for each kind.
  readonly #nextShards = new Map<FactKind, number>()
  // Facts that have reserved space and are not on the disk yet, with the space that they will take.
  readonly #landing = new Map<string, number>()
  // One map for each scan under way: facts that have changed since it began, and which it may or may not have seen.
  readonly #scans = new Set<Map<string, number>>()
  #uncheckedBytes = 0
  #makingRoom: Promise<number> | undefined

  constructor(options: FactSpaceOptions) {
    this.#options = options
  }

  get #maxBytes(): number {
    return this.#options.bounds.maxBytes ?? Number.POSITIVE_INFINITY
  }

  get bytes(): number {
    let sum = 0
    for (const bytes of this.#kinds.values()) sum += bytes
    return sum
  }

  /**
   * Reserves space for a fact that will take `after` bytes. If there is none, it evicts the least recently used facts of
   * the kind that takes most. Undefined when there can be no space, or when too many others would have to go. The caller
   * calls the returned function once, with the space that the fact takes in the end.
   */
  async reserve(fact: FactSize, after: number): Promise<((bytes: number) => void) | undefined> {
    const maxBytes = this.#maxBytes
    const by = after - fact.bytes
    if (by > maxBytes / 4) return undefined
    while (this.bytes + by > maxBytes || this.#uncheckedBytes >= CHECK_DISK_EVERY_BYTES) {
      const freed = await this.#makeRoomOnce(by)
      if (freed > 0) continue
      if (this.bytes + by > maxBytes) return undefined
      break
    }
    // No await since the check: two callers must not count on the same space.
    this.changed(fact, after)
    this.#landing.set(fact.file, after)
    return (bytes) => {
      this.#landing.delete(fact.file)
      this.changed({ ...fact, bytes: after }, bytes)
    }
  }

  /** Records that a fact takes `after` bytes now. */
  changed({ kind, file, bytes }: FactSize, after: number): void {
    const shard = path.dirname(file)
    for (const changed of this.#scans) changed.set(file, after)
    this.#setShard(kind, shard, (this.#shards.get(shard) ?? 0) + after - bytes)
    this.#uncheckedBytes += Math.max(0, after - bytes)
  }

  /** Counts all facts on the disk, shard by shard, and evicts what is too much. Ends early when `signal` aborts. */
  async count(signal: AbortSignal): Promise<void> {
    // A shard that cannot be read now, for want of descriptors, is counted when an eviction scans it.
    const report = (error: unknown): undefined => {
      this.#options.onTrouble?.(error)
    }
    for (const kind of FACT_KINDS) {
      if (signal.aborted) return
      for (const number of (await this.#shardsOf(kind).catch(report)) ?? []) {
        if (signal.aborted) return
        await this.#scanShard(kind, number).catch(report)
      }
    }
    if (this.bytes > this.#maxBytes) await this.#makeRoomOnce(0)
  }

  /** Makes room for `bytes` more; resolves with how many bytes were evicted. Callers at the same time share one run. */
  #makeRoomOnce(bytes: number): Promise<number> {
    this.#makingRoom ??= this.#makeRoom(bytes)
      .catch((error: unknown) => {
        this.#options.onTrouble?.(error)
        return 0
      })
      .finally(() => {
        this.#makingRoom = undefined
      })
    return this.#makingRoom
  }

  async #makeRoom(bytes: number): Promise<number> {
    let sum = 0
    for (let lack = await this.#lacking(bytes); lack > 0; lack = await this.#lacking(bytes)) {
      const [kind] = [...this.#kinds].reduce((most, next) => (next[1] > most[1] ? next : most))
      const before = this.bytes
      const freed = await this.#evict(kind, lack)
      sum += freed
      this.#uncheckedBytes = Math.max(0, this.#uncheckedBytes - freed)
      // What is left cannot be removed, or has gone already.
      if (freed === 0 && this.bytes >= before) break
    }
    this.#uncheckedBytes = 0
    return sum
  }

  async #lacking(bytes: number): Promise<number> {
    const { shortBytes } = this.#options
    const maxBytes = this.#maxBytes
    const over = this.bytes + bytes - maxBytes
    // Some more than needed, so that not every write has to scan a shard.
    if (over > 0) return over + Math.min(maxBytes / 16, SPARE_BYTES)
    // On a disk that is nearly full, facts give back what they have taken since the last check. The rest may be taken by
    // other programs.
    return this.#uncheckedBytes === 0 ? 0 : Math.min(await shortBytes(), this.#uncheckedBytes)
  }

  /** Removes the oldest of a sample, at most a quarter of it. Resolves with how many bytes were freed. */
  async #evict(kind: FactKind, lack: number): Promise<number> {
    const sample: FactFile[] = []
    for (let looked = 0; looked < SHARDS && sample.length < SAMPLE_FILES; looked += 1) {
      const next = this.#nextShards.get(kind) ?? Math.floor(Math.random() * SHARDS)
      this.#nextShards.set(kind, (next + 1) % SHARDS)
      for (const file of await this.#scanShard(kind, next)) sample.push(file)
    }
    sample.sort((a, b) => a.usedAt - b.usedAt)
    let freed = 0
    for (const { file, bytes } of sample.slice(0, Math.ceil(sample.length / 4))) {
      if (freed >= lack) break
      if (!(await this.#options.remove(file))) continue
      this.changed({ kind, file, bytes }, 0)
      freed += bytes
    }
    return freed
  }

  /**
   * The shards of a kind that exist. In a small store these are few. A shard that is made later holds only facts that
   * `changed` has counted.
   */
  async #shardsOf(kind: FactKind): Promise<number[]> {
    const names = await namesIn(path.join(this.#options.layout.facts, kind))
    return names.filter((name) => /^[0-9a-f]{2}$/.test(name)).map((name) => Number.parseInt(name, 16))
  }

  /** Lists the facts of one shard, and sets its sum to what they take. */
  async #scanShard(kind: FactKind, number: number): Promise<FactFile[]> {
    const shard = path.join(this.#options.layout.facts, kind, number.toString(16).padStart(2, '0'))
    const meanwhile = new Map(this.#landing)
    this.#scans.add(meanwhile)
    try {
      const files = await factsIn(shard)
      const sizes = new Map(files.map(({ file, bytes }) => [file, bytes]))
      for (const [file, bytes] of meanwhile) if (path.dirname(file) === shard) sizes.set(file, bytes)
      let sum = 0
      for (const bytes of sizes.values()) sum += bytes
      this.#setShard(kind, shard, sum)
      return files
    } finally {
      this.#scans.delete(meanwhile)
    }
  }

  #setShard(kind: FactKind, shard: string, bytes: number): void {
    const before = this.#shards.get(shard) ?? 0
    const after = Math.max(0, bytes)
    if (after === 0) this.#shards.delete(shard)
    else this.#shards.set(shard, after)
    this.#kinds.set(kind, (this.#kinds.get(kind) ?? 0) + after - before)
    this.#options.onBytes(this.bytes)
  }
}

async function factsIn(shard: string): Promise<FactFile[]> {
  const names = (await namesIn(shard)).filter((name) => /^[0-9a-f]{64}\.json$/.test(name))
  const files: FactFile[] = []
  for (let start = 0; start < names.length; start += CONCURRENT_STATS) {
    const batch = names.slice(start, start + CONCURRENT_STATS).map((name) => statFact(path.join(shard, name)))
    for (const file of await Promise.all(batch)) if (file !== undefined) files.push(file)
  }
  return files
}

async function statFact(file: string): Promise<FactFile | undefined> {
  const stats = await ifThere(lstat(file))
  if (stats === undefined) return undefined
  // A sparse file takes less than its length.
  const bytes = Math.max(BLOCK_BYTES, Math.min(blocksOf(stats.size), stats.blocks * 512))
  return { file, bytes, usedAt: stats.mtimeMs }
}

async function namesIn(directory: string): Promise<string[]> {
  return (await ifThere(readdir(directory))) ?? []
}
