// Caches in memory, each bounded by bytes. Callers choose many of their keys: paths, queries, revisions. With such keys,
// a number of entries is not a bound of memory. All caches use this class. It counts keys as well as values, and replaces
// long keys by their digest.

import { createHash } from 'node:crypto'
import { LRUCache } from 'lru-cache'

/** The bytes of an entry in addition to its key and `sizeOf`: links, one or two numbers, a small object. */
const OVERHEAD_BYTES = 200
/** Longer keys are stored as their digest, so that they take no more memory than others. */
export const MAX_KEY_CHARS = 512

export interface MemoryCacheOptions<V> {
  /** The bound of all entries together. The least recently used entries are evicted first. */
  readonly maxBytes: number
  /** The bytes of the texts and buffers in a value. Without this function a value counts as a small object. */
  readonly sizeOf?: (value: V) => number
  /** A larger entry is not kept. */
  readonly maxEntryBytes?: number
  /** Entries expire after this time. Without it, they do not expire. */
  readonly ttlMs?: number
  /** Called for each removed entry, for any reason but a replacement. A long key is passed as its digest. */
  readonly onRemove?: (value: V, key: string) => void
}

/** A least-recently-used cache that is bounded by bytes. */
export class MemoryCache<V extends string | number | object> {
  readonly #entries: LRUCache<string, V>
  #hasEvicted = false

  constructor({ maxBytes, sizeOf, maxEntryBytes, ttlMs, onRemove }: MemoryCacheOptions<V>) {
    this.#entries = new LRUCache<string, V>({
      maxSize: Math.max(1, Math.floor(maxBytes)),
      // V8 stores strings with up to two bytes per character.
      sizeCalculation: (value, key) =>
        Math.ceil(key.length * 2 + OVERHEAD_BYTES + (sizeOf === undefined ? 0 : sizeOf(value))),
      ...(maxEntryBytes === undefined ? {} : { maxEntrySize: Math.max(1, Math.floor(maxEntryBytes)) }),
      ...(ttlMs === undefined ? {} : { ttl: ttlMs }),
      disposeAfter: (value, key, reason) => {
        if (reason === 'evict') this.#hasEvicted = true
        if (reason !== 'set') onRemove?.(value, key)
      },
    })
  }

  get(key: string): V | undefined {
    return this.#entries.get(shortened(key))
  }

  /** Like `get`, but does not count as a use. */
  peek(key: string): V | undefined {
    return this.#entries.peek(shortened(key))
  }

  has(key: string): boolean {
    return this.#entries.has(shortened(key))
  }

  set(key: string, value: V): void {
    this.#entries.set(shortened(key), value)
  }

  delete(key: string): void {
    this.#entries.delete(shortened(key))
  }

  clear(): void {
    this.#entries.clear()
  }

  /** Whether an entry was ever evicted for lack of space. If so, a missing entry may have existed. */
  get hasEvicted(): boolean {
    return this.#hasEvicted
  }

  /** The number of entries. */
  get count(): number {
    return this.#entries.size
  }

  /** The bytes of all entries as this class counts them, at most `maxBytes`. */
  get bytes(): number {
    return this.#entries.calculatedSize
  }
}

/** The key as it is stored. */
function shortened(key: string): string {
  if (key.length <= MAX_KEY_CHARS) return key
  // No other key begins with this character, because keys contain no control characters.
  return `\0${createHash('sha256').update(key).digest('base64url')}`
}

/** The most bytes that the texts can take in memory; undefined counts as 0. */
export function textBytes(...texts: readonly (string | undefined)[]): number {
  let chars = 0
  for (const text of texts) chars += text?.length ?? 0
  return chars * 2
}
