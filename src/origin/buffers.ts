// Memory for short bodies that are read at once from the origin, so that its connection is free before the client has
// taken them. One limit for all, and no caller may have all of it.

import { isWithinShare } from './shares.ts'

/** A body up to this length may be held in memory, or pulled like an answer to a question. */
export const BRIEF_BYTES = 1024 * 1024
const MAX_HELD_BYTES = 64 * 1024 * 1024

export class Buffers {
  readonly #limitBytes: number
  readonly #byCaller = new Map<string, number>()
  #heldBytes = 0

  constructor(limitBytes = MAX_HELD_BYTES) {
    this.#limitBytes = limitBytes
  }

  /** Less than a quarter is free. */
  get isShort(): boolean {
    return this.#heldBytes * 4 > this.#limitBytes * 3
  }

  /** Room for so many bytes, until the returned function is called; undefined where there is none, or not for this caller. */
  hold(caller: string, bytes: number): (() => void) | undefined {
    const held = this.#byCaller.get(caller) ?? 0
    const free = this.#limitBytes - this.#heldBytes
    if (bytes > Math.min(free, BRIEF_BYTES) || !isWithinShare(held, free)) return undefined
    this.#add(caller, bytes)
    let isHeld = true
    return () => {
      if (isHeld) this.#add(caller, -bytes)
      isHeld = false
    }
  }

  #add(caller: string, bytes: number): void {
    this.#heldBytes += bytes
    const held = (this.#byCaller.get(caller) ?? 0) + bytes
    if (held === 0) this.#byCaller.delete(caller)
    else this.#byCaller.set(caller, held)
  }
}

/**
 * The same chunks as they come, read on though nobody takes them: there must be room for all. Calls `release` once, when
 * the last one was taken or nobody wants more. Whoever leaves early also ends `chunks`, which may wait for its next one.
 */
export async function* readAtOnce(
  chunks: AsyncIterable<Buffer>,
  release: () => void,
): AsyncGenerator<Buffer, void, undefined> {
  const parts: Buffer[] = []
  const state: { isOver: boolean; hasLeft: boolean; failure?: { readonly error: unknown } } = {
    isOver: false,
    hasLeft: false,
  }
  let wake = (): void => {}
  const read = async (): Promise<void> => {
    try {
      for await (const chunk of chunks) {
        if (state.hasLeft) return
        parts.push(chunk)
        wake()
      }
    } catch (error) {
      state.failure = { error }
    } finally {
      state.isOver = true
      wake()
    }
  }
  try {
    void read()
    for (;;) {
      const part = parts.shift()
      if (part !== undefined) yield part
      else if (state.failure !== undefined) throw state.failure.error
      else if (state.isOver) return
      else await new Promise<void>((resolve) => (wake = resolve))
    }
  } finally {
    state.hasLeft = true
    release()
  }
}
