// Facts on a local disk: small JSON values, some with a body of bytes, and the recent ones in memory. Each file contains
// its full key, which is compared on reading, so that a file in the wrong place is not a fact. Changes of one fact happen
// one after another. What a fact means is up to mirror/.

import { constants } from 'node:fs'
import { type FileHandle, lutimes, open } from 'node:fs/promises'
import { MemoryCache } from '../../memory.ts'
import { errorCode, isMissing, unlinkIfThere, writeAtomic } from '../atomic.ts'
import type { Layout } from '../layout.ts'
import type { FactKind, Facts } from '../store.ts'
import { decodeFact, encodeFact, type ReadFact } from './fact-file.ts'
import { blocksOf, FactSpace, occupiedBytes } from './fact-space.ts'

const ABSENT = Symbol('absent')
// Guards against a file that damage has made large: no real fact comes near this size.
const MAX_FACT_BYTES = 128 * 1024 * 1024
// A link would lead out of the store, and a pipe would block a thread for ever.
const OPEN_FACT = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK
// How exact the time of last use is on the disk, as with blobs.
const RECORD_USE_EVERY_MS = 3_600_000

/** Facts on a local disk, whose room is counted. */
export interface DiskFacts extends Facts {
  /** Counts what lies on the disk, and makes it fit. Ends early when `signal` aborts. */
  count(signal: AbortSignal): Promise<void>
  /**
   * Resolves when every change made so far has reached the disk or failed. A value that is written afterwards stays in
   * memory: another process may own the directory by then. A removal afterwards still removes the file.
   */
  close(): Promise<void>
}

export interface FactsOptions {
  /** Bound of the memory. */
  readonly memoryBytes: number
  /** Bound of the space on the disk; undefined for none. It is read at each use. */
  readonly maxBytes?: number
  /** How many bytes the disk lacks of the free space that is always left. */
  readonly shortBytes?: () => Promise<number>
  readonly now?: () => number
  /** Called with the space that all facts take, whenever it changes. */
  readonly onBytes?: (bytes: number) => void
  /** Called with errors of the disk while room was made. */
  readonly onTrouble?: (error: unknown) => void
  /** Changes stay in memory: the volume is read-only. */
  readonly readOnly?: boolean
}

interface CachedFact {
  readonly value: unknown
  readonly sizeBytes: number
  /** There is known to be no file, so that its size need not be asked for. */
  readonly isMissing?: boolean
  /** When its use was last recorded on the disk. */
  recordedAt: number
}

/**
 * Opens the facts of a store. Files are renamed into place without a sync: facts survive a crash of the process, not always
 * a power cut. Losing one costs a request to the Hub.
 */
export function createFacts(layout: Layout, options: FactsOptions): DiskFacts {
  const { now = Date.now, onTrouble, readOnly = false } = options
  const memory = new MemoryCache<CachedFact>({
    maxBytes: options.memoryBytes,
    maxEntryBytes: options.memoryBytes / 8,
    sizeOf: ({ sizeBytes }) => sizeBytes,
  })
  const cache = (name: string, value: unknown, sizeBytes: number, recordedAt = now()): void => {
    memory.set(name, { value, sizeBytes, recordedAt })
  }
  const cacheMissing = (name: string): void =>
    memory.set(name, { value: ABSENT, sizeBytes: 0, recordedAt: now(), isMissing: true })
  const reads = new Reads()
  const changes = new Changes((file) => reads.invalidate(file))
  const space = new FactSpace({
    layout,
    bounds: options,
    shortBytes: options.shortBytes ?? (() => Promise.resolve(0)),
    // A fact that is being changed is in use. Waiting for its change could deadlock: the change may wait for room.
    remove: async (file) => !changes.has(file) && changes.runExclusive(file, () => unlinkIfThere(file)),
    onBytes: (bytes) => options.onBytes?.(bytes),
    ...(onTrouble === undefined ? {} : { onTrouble }),
  })
  let closed = readOnly

  const cached = (kind: FactKind, key: string): CachedFact | undefined => {
    const known = memory.get(nameOf(kind, key))
    if (known !== undefined && known.value !== ABSENT && now() - known.recordedAt >= RECORD_USE_EVERY_MS) {
      known.recordedAt = now()
      recordUse(layout.fact(kind, key), known.recordedAt)
    }
    return known
  }

  return {
    peek(kind, key) {
      const known = cached(kind, key)
      return known === undefined || known.value === ABSENT ? undefined : known.value
    },

    async read(kind, key) {
      const known = cached(kind, key)
      if (known !== undefined) return known.value === ABSENT ? undefined : known.value
      const name = nameOf(kind, key)
      const file = layout.fact(kind, key)
      // A change that did not fit into memory is not visible there.
      await changes.last(file)
      // Concurrent callers share one read: the file may be large.
      const found = await reads.run(file, () => readFile(file))
      // A write may have happened meanwhile; its value in memory is newer than what was read.
      const newer = memory.get(name)
      if (newer !== undefined) return newer.value === ABSENT ? undefined : newer.value
      if (found === 'missing') {
        cacheMissing(name)
        return undefined
      }
      const value = found?.fact?.key === key ? found.fact.value : undefined
      const at = now()
      const isOld = found !== undefined && at - found.usedAt >= RECORD_USE_EVERY_MS
      if (isOld && value !== undefined) recordUse(file, at)
      const recordedAt = isOld ? at : found?.usedAt
      cache(name, value === undefined ? ABSENT : value, found?.sizeBytes ?? 0, recordedAt)
      return value
    },

    async write(kind, key, value) {
      const { content, sizeBytes } = encodeFact(key, value)
      const name = nameOf(kind, key)
      const isNew = memory.peek(name)?.isMissing === true
      cache(name, value, sizeBytes)
      if (closed) return
      const file = layout.fact(kind, key)
      await changes.runExclusive(file, () => put(layout, space, { kind, file, content, sizeBytes, isNew }))
    },

    async remove(kind, key) {
      cache(nameOf(kind, key), ABSENT, 0)
      if (readOnly) return
      const file = layout.fact(kind, key)
      await changes.runExclusive(file, () => drop(space, kind, file))
    },

    count: (signal) => space.count(signal),

    async close() {
      closed = true
      await changes.settled()
    },
  }
}

async function put(
  layout: Layout,
  space: FactSpace,
  fact: {
    readonly kind: FactKind
    readonly file: string
    readonly content: readonly Buffer[]
    readonly sizeBytes: number
    readonly isNew: boolean
  },
): Promise<void> {
  const { kind, file, content, sizeBytes, isNew } = fact
  const before = { kind, file, bytes: isNew ? 0 : await occupiedBytes(file) }
  const after = blocksOf(sizeBytes)
  const landed = await space.reserve(before, after)
  // There is no room, and the old value on the disk is no longer true.
  if (landed === undefined) return drop(space, kind, file)
  try {
    await writeAtomic(layout.tmp, file, content, { durable: false })
    landed(after)
  } catch (error) {
    landed(before.bytes)
    throw error
  }
}

async function drop(space: FactSpace, kind: FactKind, file: string): Promise<void> {
  // The fact is removed even if its size cannot be found out.
  const bytes = await occupiedBytes(file).catch(() => 0)
  if (await unlinkIfThere(file)) space.changed({ kind, file, bytes }, 0)
}

/**
 * The changes under way, one at a time for each file. If they ran concurrently, a removal could overtake the write before
 * it, and the removed value would be back after a restart.
 */
class Changes {
  readonly #last = new Map<string, Promise<void>>()
  readonly #onOver: (file: string) => void

  /** `onOver` is called after each change, before the callers that wait for it continue. */
  constructor(onOver: (file: string) => void) {
    this.#onOver = onOver
  }

  has(file: string): boolean {
    return this.#last.has(file)
  }

  /** Resolves when the changes of `file` that are under way have ended. */
  async last(file: string): Promise<void> {
    await this.#last.get(file)
  }

  /** Runs `change` after the changes of `file` that are under way. Rejects as it does. */
  async runExclusive<T>(file: string, change: () => Promise<T>): Promise<T> {
    const before = this.#last.get(file)
    const result = before === undefined ? change() : before.then(change)
    // The next change waits for the end of this one, whether it succeeds or fails.
    const over = result
      .then(
        () => undefined,
        () => undefined,
      )
      .then(() => {
        this.#onOver(file)
        if (this.#last.get(file) === over) this.#last.delete(file)
      })
    this.#last.set(file, over)
    return result
  }

  async settled(): Promise<void> {
    while (this.#last.size > 0) await Promise.all(this.#last.values())
  }
}

/** The reads under way, one for each file. */
class Reads {
  readonly #running = new Map<string, Promise<FoundFact | 'missing' | undefined>>()

  /** Runs `read`, or joins the one of `file` that is under way. */
  run(
    file: string,
    read: () => Promise<FoundFact | 'missing' | undefined>,
  ): Promise<FoundFact | 'missing' | undefined> {
    const running = this.#running.get(file)
    if (running !== undefined) return running
    const reading = read().finally(() => {
      if (this.#running.get(file) === reading) this.#running.delete(file)
    })
    this.#running.set(file, reading)
    return reading
  }

  /** The file may have changed: the next caller reads it again. */
  invalidate(file: string): void {
    this.#running.delete(file)
  }
}

/** If this fails, the fact only looks older than it is. */
function recordUse(file: string, at: number): void {
  lutimes(file, at / 1000, at / 1000).catch(() => undefined)
}

interface FoundFact {
  readonly fact: ReadFact | undefined
  readonly sizeBytes: number
  readonly usedAt: number
}

/** Undefined when something else than a file is in its place, or the file is too large to be a fact. */
async function readFile(file: string): Promise<FoundFact | 'missing' | undefined> {
  let handle: FileHandle
  try {
    handle = await open(file, OPEN_FACT)
  } catch (error) {
    if (isMissing(error)) return 'missing'
    if (errorCode(error) === 'ELOOP') return undefined
    throw error
  }
  try {
    const stats = await handle.stat()
    if (!stats.isFile() || stats.size > MAX_FACT_BYTES) return undefined
    const bytes = await handle.readFile()
    return { fact: decodeFact(bytes), sizeBytes: bytes.length, usedAt: stats.mtimeMs }
  } finally {
    await handle.close()
  }
}

function nameOf(kind: FactKind, key: string): string {
  return `${kind} ${key}`
}
