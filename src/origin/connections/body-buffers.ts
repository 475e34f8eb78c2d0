// Memory for short bodies. They are read from the origin at once, so that the connection is free before the client has taken
// them. All bodies share one limit, and no caller can use all of it.

import { isWithinShare } from './shares.ts'

/** A body up to this length can be held in memory, and counts as a question when it is pulled. */
export const SHORT_BODY_BYTES = 1024 * 1024
const MAX_HELD_BYTES = 64 * 1024 * 1024

export class BodyBuffers {
  readonly #limitBytes: number
  readonly #byCaller = new Map<string, number>()
  #heldBytes = 0

  constructor(limitBytes = MAX_HELD_BYTES) {
    this.#limitBytes = limitBytes
  }

  /** Whether less than a quarter is free. */
  get isLow(): boolean {
    return this.#heldBytes * 4 > this.#limitBytes * 3
  }

  /** Reserves `bytes` until the returned function is called. Undefined where this caller can have no room now. */
  reserve(caller: string, bytes: number): (() => void) | undefined {
    const held = this.#byCaller.get(caller) ?? 0
    const free = this.#limitBytes - this.#heldBytes
    if (bytes > Math.min(free, SHORT_BODY_BYTES) || !isWithinShare(held, free)) return undefined
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
 * Yields the same chunks, but reads all of `chunks` without waiting for the consumer; the caller must have reserved room for
 * all of them. Calls `release` once, when the last chunk was taken or the consumer has left. The caller must end `chunks`
 * when the consumer leaves early, because `chunks` may be waiting for its next chunk.
 */
export async function* bufferBody(
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
