// Writes bytes to the file of a partial, on a thread that receives them (file-writer.ts is the side of the main thread).
// Loaded by that thread. It has the descriptor of the file, which all threads of a process share, and two marks in shared
// memory: where it must stop, and how far it may be writing.

import { writeSync } from 'node:fs'

/** The index of each mark: positions in the file. */
export const LIMIT = 0
export const CLAIMED = 1

export interface FileSink {
  readonly descriptor: number
  readonly marks: BigInt64Array
}

/** Opens the sink. It holds nothing that must be closed. */
export function openSink({ descriptor, marks }: FileSink): {
  write(bytes: Uint8Array, position: number): number
} {
  return {
    /**
     * Writes `bytes` at `position`, as far as the limit. Returns how many were written. Throws the error of the disk; then
     * some of them may have been written.
     */
    write(bytes, position) {
      // Claim, then look: the main thread moves the limit, and then looks at the claim. So one of the two sees the other.
      Atomics.store(marks, CLAIMED, BigInt(position + bytes.length))
      const limit = Number(Atomics.load(marks, LIMIT))
      const length = Math.max(0, Math.min(bytes.length, limit - position))
      let written = 0
      while (written < length) {
        const count = writeSync(descriptor, bytes, written, length - written, position + written)
        if (count === 0) throw new Error('the disk accepts no more bytes and gives no reason')
        written += count
      }
      return length
    },
  }
}
