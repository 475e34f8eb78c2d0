// Caches in memory, each bounded by bytes. Strangers choose many of their keys: paths, queries, revisions. With such keys a
// number of entries is no bound. So all caches use this class, which counts keys (names) as well as values and replaces
// long names by their digest.

import { createHash } from 'node:crypto'
import { LRUCache } from 'lru-cache'

/** The bytes of an entry beside its name and `sizeOf`: links, one or two numbers, a small object. */
const OVERHEAD_BYTES = 200
/** Longer names are stored as their digest, so that they take no more room than others. */
export const MAX_KEY_CHARS = 512

export interface MemoryCacheOptions<V> {
  /** The bound of all entries together. The least recently used entries are removed first. */
  readonly maxBytes: number
  /** The bytes of the texts and buffers in a value. Without this function a value counts as a small object. */
  readonly sizeOf?: (value: V) => number
  /** A larger entry is not kept. */
  readonly maxEntryBytes?: number
  /** Entries are forgotten after this time. */
  readonly ttlMs?: number
  /** Called for each removed entry, whatever the reason. A long `name` is given as its digest. */
  readonly onRemove?: (value: V, name: string) => void
}

/** A least-recently-used cache of names and values. */
export class MemoryCache<V extends string | number | object> {
  readonly #entries: LRUCache<string, V>
  #hasEvicted = false

  constructor({ maxBytes, sizeOf, maxEntryBytes, ttlMs: lifeMs, onRemove: onRemove }: MemoryCacheOptions<V>) {
    this.#entries = new LRUCache<string, V>({
      maxSize: Math.max(1, Math.floor(maxBytes)),
      // A text of V8 takes up to two bytes a character.
      sizeCalculation: (value, name) =>
        Math.ceil(name.length * 2 + OVERHEAD_BYTES + (sizeOf === undefined ? 0 : sizeOf(value))),
      ...(maxEntryBytes === undefined ? {} : { maxEntrySize: Math.max(1, Math.floor(maxEntryBytes)) }),
      ...(lifeMs === undefined ? {} : { ttl: lifeMs }),
      disposeAfter: (value, name, reason) => {
        if (reason === 'evict') this.#hasEvicted = true
        if (reason !== 'set') onRemove?.(value, name)
      },
    })
  }

  get(name: string): V | undefined {
    return this.#entries.get(kept(name))
  }

  /** As `get`, but does not count as a use. */
  peek(name: string): V | undefined {
    return this.#entries.peek(kept(name))
  }

  has(name: string): boolean {
    return this.#entries.has(kept(name))
  }

  set(name: string, value: V): void {
    this.#entries.set(kept(name), value)
  }

  delete(name: string): void {
    this.#entries.delete(kept(name))
  }

  clear(): void {
    this.#entries.clear()
  }

  /** Whether an entry was ever removed for lack of room. If so, a missing entry may have existed. */
  get hasEvicted(): boolean {
    return this.#hasEvicted
  }

  /** How many entries there are. */
  get count(): number {
    return this.#entries.size
  }

  /** The bytes of all entries as this class counts them, at most `maxBytes`. */
  get bytes(): number {
    return this.#entries.calculatedSize
  }
}

function kept(name: string): string {
  if (name.length <= MAX_KEY_CHARS) return name
  // No other name begins like this, since names hold no control characters.
  return `\0${createHash('sha256').update(name).digest('base64url')}`
}

/** The most bytes that the texts can take; undefined counts as 0. */
export function textBytes(...texts: readonly (string | undefined)[]): number {
  let chars = 0
  for (const text of texts) chars += text?.length ?? 0
  return chars * 2
}
