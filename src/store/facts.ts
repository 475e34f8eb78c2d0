// Small JSON truths on disk, with the hot ones in memory. The full key stands inside each file and is compared on
// reading, so that a file in the wrong place is no fact. What a fact means is the business of mirror/.

import { constants } from 'node:fs'
import { type FileHandle, open, unlink } from 'node:fs/promises'
import { LRUCache } from 'lru-cache'
import { errorCode, isMissing, writeAtomic } from './atomic.ts'
import type { FactKind, Layout } from './layout.ts'

const ABSENT = Symbol('absent')
// What an entry costs in memory beside its text.
const OVERHEAD_BYTES = 200
// Guards against a file that grew by damage: no honest fact comes near.
const MAX_FACT_BYTES = 128 * 1024 * 1024
// A link would lead out of the store, and a pipe would hold a thread for ever.
const OPEN_FACT = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK

export interface Facts {
  /** The fact, or undefined. A damaged file is an absent fact; a disk that cannot be read throws. */
  read(kind: FactKind, key: string): Promise<unknown>
  /** The fact if it is in memory: no file-system call. */
  peek(kind: FactKind, key: string): unknown
  write(kind: FactKind, key: string, value: unknown): Promise<void>
  remove(kind: FactKind, key: string): Promise<void>
  /**
   * Resolves when every change made so far has reached the disk or failed. What is written after it stays in memory:
   * somebody else may own the directory by then. What is removed after it goes all the same.
   */
  close(): Promise<void>
}

/**
 * Facts survive a crash of the process, not always a power cut: losing one costs a question to the Hub, so they
 * are renamed into place without a sync.
 */
export function createFacts(layout: Layout, options: { readonly memoryBytes: number }): Facts {
  const memory = new LRUCache<string, { readonly value: unknown }>({
    maxSize: Math.max(1, options.memoryBytes),
    maxEntrySize: Math.max(1, Math.floor(options.memoryBytes / 8)),
  })
  const remember = (name: string, value: unknown, bytes: number): void => {
    memory.set(name, { value }, { size: bytes + name.length + OVERHEAD_BYTES })
  }
  const nameOf = (kind: FactKind, key: string): string => `${kind} ${key}`
  // The last change under way of each fact. Side by side a removal could overtake the write before it, and what was
  // withdrawn would be back after a restart.
  const changes = new Map<string, Promise<void>>()
  let closed = false
  const inTurn = (name: string, change: () => Promise<void>): Promise<void> => {
    const before = changes.get(name)
    const turn = before === undefined ? change() : before.then(change)
    // Whoever comes next waits for this one, not for its success.
    const over = turn
      .catch(() => undefined)
      .then(() => {
        if (changes.get(name) === over) changes.delete(name)
      })
    changes.set(name, over)
    return turn
  }

  return {
    peek(kind, key) {
      const known = memory.get(nameOf(kind, key))
      return known === undefined || known.value === ABSENT ? undefined : known.value
    },

    async read(kind, key) {
      const name = nameOf(kind, key)
      const known = memory.get(name)
      if (known !== undefined) return known.value === ABSENT ? undefined : known.value
      // A change that memory had no room for.
      await changes.get(name)
      const text = await readText(layout.fact(kind, key))
      // A write may have come in between; what it put into memory is newer than what was read.
      const newer = memory.get(name)
      if (newer !== undefined) return newer.value === ABSENT ? undefined : newer.value
      const value = text === undefined ? undefined : parseFact(text, key)
      remember(name, value === undefined ? ABSENT : value, text?.length ?? 0)
      return value
    },

    async write(kind, key, value) {
      const text = JSON.stringify({ key, value })
      const name = nameOf(kind, key)
      remember(name, value, text.length)
      if (closed) return
      await inTurn(name, () => writeAtomic(layout.tmp, layout.fact(kind, key), text, { durable: false }))
    },

    async remove(kind, key) {
      const name = nameOf(kind, key)
      remember(name, ABSENT, 0)
      await inTurn(name, async () => {
        try {
          await unlink(layout.fact(kind, key))
        } catch (error) {
          if (!isMissing(error)) throw error
        }
      })
    },

    async close() {
      closed = true
      while (changes.size > 0) await Promise.all(changes.values())
    },
  }
}

async function readText(file: string): Promise<string | undefined> {
  let handle: FileHandle
  try {
    handle = await open(file, OPEN_FACT)
  } catch (error) {
    if (isMissing(error) || errorCode(error) === 'ELOOP') return undefined
    throw error
  }
  try {
    const stats = await handle.stat()
    if (!stats.isFile() || stats.size > MAX_FACT_BYTES) return undefined
    return await handle.readFile('utf8')
  } finally {
    await handle.close()
  }
}

function parseFact(text: string, key: string): unknown {
  try {
    const parsed: unknown = JSON.parse(text)
    if (typeof parsed !== 'object' || parsed === null || !('key' in parsed) || parsed.key !== key)
      return undefined
    return 'value' in parsed ? parsed.value : undefined
  } catch {
    // A torn write of a power cut.
    return undefined
  }
}
