// Memories of the process, each bounded by bytes. What is remembered is often named by text that a stranger chooses: a
// path, a query, a revision. A count of entries bounds nothing then. So every memory goes through here, where names are
// counted as well as values, and long names are replaced by their digest.

import { createHash } from 'node:crypto'
import { LRUCache } from 'lru-cache'

/** What an entry costs beside its name and what `sizeOf` says: links, a number or two, a small object. */
const OVERHEAD_BYTES = 200
/** Longer names are kept as their digest, so that they neither cost more nor push more out than others. */
export const MAX_NAME_CHARS = 512

export interface MemoryOptions<V> {
  /** Bound of all entries together; what was used longest ago goes first. */
  readonly maxBytes: number
  /** What a value takes beyond a small object of fixed size: texts and buffers in it. 0 when it is not given. */
  readonly sizeOf?: (value: V) => number
  /** A larger entry is not kept. */
  readonly maxEntryBytes?: number
  /** Entries are forgotten after this time. */
  readonly lifeMs?: number
  /** Hears of each entry that has gone, whatever the reason; `name` is as it is kept. */
  readonly onGone?: (value: V, name: string) => void
}

/** Names and what they stand for, the most recently used of them. */
export class Memory<V extends string | number | object> {
  readonly #entries: LRUCache<string, V>
  #hasForgotten = false

  constructor({ maxBytes, sizeOf, maxEntryBytes, lifeMs, onGone }: MemoryOptions<V>) {
    this.#entries = new LRUCache<string, V>({
      maxSize: Math.max(1, Math.floor(maxBytes)),
      // A text of V8 takes up to two bytes a character.
      sizeCalculation: (value, name) =>
        Math.ceil(name.length * 2 + OVERHEAD_BYTES + (sizeOf === undefined ? 0 : sizeOf(value))),
      ...(maxEntryBytes === undefined ? {} : { maxEntrySize: Math.max(1, Math.floor(maxEntryBytes)) }),
      ...(lifeMs === undefined ? {} : { ttl: lifeMs }),
      disposeAfter: (value, name, reason) => {
        if (reason === 'evict') this.#hasForgotten = true
        if (reason !== 'set') onGone?.(value, name)
      },
    })
  }

  get(name: string): V | undefined {
    return this.#entries.get(kept(name))
  }

  /** The same, and the entry grows no younger by it. */
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

  /** Whether an entry ever had to go for want of room: what is not there may have been. */
  get hasForgotten(): boolean {
    return this.#hasForgotten
  }

  /** How many entries there are. */
  get count(): number {
    return this.#entries.size
  }

  /** What they take by the reckoning of this class; never more than `maxBytes`. */
  get bytes(): number {
    return this.#entries.calculatedSize
  }
}

function kept(name: string): string {
  if (name.length <= MAX_NAME_CHARS) return name
  // No name that is kept as it came begins so: none holds a control character.
  return `\0${createHash('sha256').update(name).digest('base64url')}`
}

/** What texts take at most; what is not there takes nothing. */
export function textBytes(...texts: readonly (string | undefined)[]): number {
  let chars = 0
  for (const text of texts) chars += text?.length ?? 0
  return chars * 2
}
