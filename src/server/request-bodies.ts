// Request bodies that are read as a whole before the answer: those of `paths-info`, of a Git LFS batch, of requests to manage
// repos, and of a clone that is answered from the store. Any client may send them, so all of them together have one memory
// limit, and no caller may use all of it.

import type { IncomingMessage, ServerResponse } from 'node:http'
import { MirrorError } from '../errors.ts'
import { BodyBuffers } from '../origin/connections/body-buffers.ts'
import { holding } from './body/held-memory.ts'

/** More than two thousand paths of the longest kind, percent-encoded. */
export const MAX_PATHS_BYTES = 4 * 1024 * 1024
/** More than four thousand objects; clients ask for 100 or 256 at a time. A batch is parsed on the main thread. */
export const MAX_BATCH_BYTES = 512 * 1024
/** A request to create, delete, move or copy a repo has a few names and settings. */
export const MAX_NAMING_BYTES = 64 * 1024
/** The wants and haves of a clone or fetch, which clients compress: more than those of a hundred thousand commits. */
export const MAX_GIT_QUESTION_BYTES = 4 * 1024 * 1024
const BODY_TIMEOUT_MS = 30_000
const FIRST_BYTES = 16 * 1024
/** The largest step in which memory is taken. */
const STEP_BYTES = 1024 * 1024

export class RequestBodies {
  readonly #memory: BodyBuffers

  constructor(memory = new BodyBuffers()) {
    this.#memory = memory
  }

  /**
   * Reads the whole body, of up to `maxBytes`. Its memory counts for `caller` until the response has closed. Rejects
   * with `request_too_large`, with `overloaded` if there is no memory, or with Node's error for a body that breaks off.
   * A client that takes longer than 30 s loses its connection.
   */
  async read(
    request: IncomingMessage,
    response: ServerResponse,
    { caller, maxBytes }: { readonly caller: string; readonly maxBytes: number },
  ): Promise<Buffer> {
    // The server does not limit the time for a request, because of uploads. This kind of body is short.
    const late = setTimeout(() => request.destroy(), BODY_TIMEOUT_MS)
    // One buffer that grows: a client may send each byte in a chunk of its own, and a chunk costs a hundred times its
    // byte.
    let bytes: Buffer = Buffer.alloc(0)
    let size = 0
    const hold = holding(response, this.#memory, { caller, reason: 'no room for the body of a question' })
    try {
      // Not destroyed by a refusal, which the client reads on the same connection.
      for await (const part of request.iterator({ destroyOnReturn: false })) {
        const chunk = part as Buffer
        if (size + chunk.length > maxBytes) throw new MirrorError('request_too_large')
        while (size + chunk.length > bytes.length) {
          const more = Math.min(STEP_BYTES, bytes.length || FIRST_BYTES)
          hold(more)
          // Not from Node's pool, which is for small buffers.
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
}
