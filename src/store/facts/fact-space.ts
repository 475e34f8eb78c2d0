// The books over the facts: how much room they take, and which go when it is too much. Facts are many and small, so
// no fact has an entry of its own: there is one sum for each shard (a directory that holds the 256th part of a kind),
// and who goes is found by looking at one shard after the other. A shard is an even sample, its digests being random.

import { lstat, readdir } from 'node:fs/promises'
import path from 'node:path'
import { ifThere } from '../atomic.ts'
import type { Layout } from '../layout.ts'
import { FACT_KINDS, type FactKind } from '../store.ts'

// A file takes a block and an inode, however short it is.
const BLOCK_BYTES = 4096
const SHARDS = 256
/** Enough files to tell the old from the new; where there are fewer, the oldest of all go. */
const SAMPLE_FILES = 64
/** How much may be written before the disk is asked again whether it has room. */
const CHECK_DISK_EVERY_BYTES = 1024 * 1024
/** How much more than is needed goes, in a large store. */
const SPARE_BYTES = 4 * 1024 * 1024
/** How many files are looked at together: the readers of blobs use the same threads. */
const CONCURRENT_STATS = 32

export interface FactSpaceOptions {
  readonly layout: Layout
  /** The facts may take this much. */
  /** Read at each use: they may change. */
  readonly bounds: { readonly maxBytes?: number }
  /** How many bytes the disk is short of what shall always be left free; 0 when it has room. */
  readonly shortBytes: () => Promise<number>
  /** Removes a fact unless it is being changed at this moment; whether it did. */
  readonly remove: (file: string) => Promise<boolean>
  readonly onBytes: (bytes: number) => void
  /** The disk failed while room was made; nobody else hears of it. */
  readonly onTrouble?: (error: unknown) => void
}

/** A fact by its file, and what it takes as far as is known. */
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

/** What a file of `sizeBytes` takes on the disk. */
export function blocksOf(sizeBytes: number): number {
  return Math.max(1, Math.ceil(sizeBytes / BLOCK_BYTES)) * BLOCK_BYTES
}

/** What a fact takes on the disk now; 0 when it is not there. */
export async function occupiedBytes(file: string): Promise<number> {
  return (await statFact(file))?.bytes ?? 0
}

export class FactSpace {
  readonly #options: FactSpaceOptions
  // By directory. What others change beside us (a prune) is noticed when a shard is looked at.
  readonly #shards = new Map<string, number>()
  readonly #kinds = new Map<FactKind, number>(FACT_KINDS.map((kind) => [kind, 0]))
  // The next shard to look at, for each kind.
  readonly #nextShards = new Map<FactKind, number>()
  // What claimed room and is not on the disk yet, with what it will take.
  readonly #landing = new Map<string, number>()
  // What changed since a look at a shard began, which may have seen it or not; one for each look under way.
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
   * Enters a fact that will take `after` instead of `before`, when there is room or room can be made: the longest
   * unused facts of the kind that takes most go first. Undefined when there is none, or when too many others would
   * have to go for it. Whoever claims calls the function he is given, with what the fact takes in the end.
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
    // In the same breath as the check: two must not count on the same room.
    this.changed(fact, after)
    this.#landing.set(fact.file, after)
    return (bytes) => {
      this.#landing.delete(fact.file)
      this.changed({ ...fact, bytes: after }, bytes)
    }
  }

  /** Notes that a fact takes `after` now. */
  changed({ kind, file, bytes }: FactSize, after: number): void {
    const shard = path.dirname(file)
    for (const changed of this.#scans) changed.set(file, after)
    this.#setShard(kind, shard, (this.#shards.get(shard) ?? 0) + after - bytes)
    this.#uncheckedBytes += Math.max(0, after - bytes)
  }

  /** Enters everything that lies there, shard by shard. Ends early when `signal` aborts. */
  async count(signal: AbortSignal): Promise<void> {
    for (const kind of FACT_KINDS) {
      for (let number = 0; number < SHARDS; number += 1) {
        if (signal.aborted) return
        // What cannot be read now, for want of descriptors, is counted when it is looked at for who may go.
        await this.#scanShard(kind, number).catch((error: unknown) => this.#options.onTrouble?.(error))
      }
    }
    if (this.bytes > this.#maxBytes) await this.#makeRoomOnce(0)
  }

  /** Makes the facts fit, with `bytes` more; how many bytes went. One for all who wait: each would look at the same. */
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
      // What is left cannot be removed, or is not there.
      if (freed === 0 && this.bytes >= before) break
    }
    this.#uncheckedBytes = 0
    return sum
  }

  async #lacking(bytes: number): Promise<number> {
    const { shortBytes } = this.#options
    const maxBytes = this.#maxBytes
    const over = this.bytes + bytes - maxBytes
    // Some more, so that not every write has to look at a shard.
    if (over > 0) return over + Math.min(maxBytes / 16, SPARE_BYTES)
    // On a disk that is short, what came pushes out as much: that much is ours to give, the rest may be others'.
    return this.#uncheckedBytes === 0 ? 0 : Math.min(await shortBytes(), this.#uncheckedBytes)
  }

  /** Removes the oldest of a sample, no more than a quarter of it; how many bytes went. */
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

  /** The facts of one shard, whose sum is then what really lies there. */
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
  // A hole that damage left takes nothing.
  const bytes = Math.max(BLOCK_BYTES, Math.min(blocksOf(stats.size), stats.blocks * 512))
  return { file, bytes, usedAt: stats.mtimeMs }
}

async function namesIn(directory: string): Promise<string[]> {
  return (await ifThere(readdir(directory))) ?? []
}
