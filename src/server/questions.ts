// Bodies of requests that are read as a whole before they are answered: what `paths-info` and a Git LFS batch ask for.
// Anybody may send them, so that all of them together have one limit, and no caller may have all of it.

import type { IncomingMessage, ServerResponse } from 'node:http'
import { MirrorError } from '../errors.ts'
import { BodyBuffers } from '../origin/connections/body-buffers.ts'

/** Two thousand paths of the longest kind, percent-encoded, are less. */
export const MAX_PATHS_BYTES = 4 * 1024 * 1024
/** Four thousand objects are less; clients ask for 100 or 256 at a time. A batch is parsed on the main thread. */
export const MAX_BATCH_BYTES = 512 * 1024
const QUESTION_TIMEOUT_MS = 30_000
const FIRST_BYTES = 16 * 1024
/** Memory is taken in steps of no more than this. */
const STEP_BYTES = 1024 * 1024

export class Questions {
  readonly #room: BodyBuffers

  constructor(room = new BodyBuffers()) {
    this.#room = room
  }

  /**
   * The whole body, of up to `maxBytes`. Its room is `caller`'s until the response has closed. Rejects with MirrorError: `request_too_large`,
   * or `overloaded` where there is no room; and with what Node says of a body that breaks off. A client that takes longer
   * than 30 s loses its connection.
   */
  async read(
    request: IncomingMessage,
    response: ServerResponse,
    { caller, maxBytes }: { readonly caller: string; readonly maxBytes: number },
  ): Promise<Buffer> {
    // The server gives whole requests no limit, for the sake of uploads; a question needs none so long.
    const late = setTimeout(() => request.destroy(), QUESTION_TIMEOUT_MS)
    // In one piece: a client may send each byte in a chunk of its own, and each chunk costs a hundred times that.
    let bytes: Buffer = Buffer.alloc(0)
    let size = 0
    const held: (() => void)[] = []
    response.once('close', () => {
      for (const release of held) release()
    })
    try {
      for await (const part of request) {
        const chunk = part as Buffer
        if (size + chunk.length > maxBytes) throw new MirrorError('request_too_large')
        while (size + chunk.length > bytes.length) {
          const more = Math.min(STEP_BYTES, bytes.length || FIRST_BYTES)
          held.push(this.#hold(more, response, caller))
          // Not of Node's pool: it is for small ones.
          const larger = Buffer.alloc(bytes.length + more)
          bytes.copy(larger)
          bytes = larger
        }
        size += chunk.copy(bytes, size)
      }
    } finally {
      clearTimeout(late)
    }
    return bytes.subarray(0, size)
  }

  #hold(bytes: number, response: ServerResponse, caller: string): () => void {
    const release = this.#room.reserve(caller, bytes)
    if (release !== undefined && !response.closed) return release
    release?.()
    throw new MirrorError('overloaded', { detail: { reason: 'no room for the body of a question' } })
  }
}
