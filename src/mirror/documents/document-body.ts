// A large document on its way to one client: changed piece by piece while it is sent, so that memory never holds a second
// copy.

import type { DocumentPlan } from '../../hub/document-scan.ts'
import { rewritten } from '../../hub/rewrite.ts'
import { yieldToEventLoop } from '../turns.ts'

/** Calls `release` once: when the last piece was taken, or the reader wants no more (`return`). */
export class DocumentBody implements AsyncIterableIterator<Buffer> {
  readonly #pieces: Generator<Buffer, void, undefined>
  readonly #release: () => void

  constructor(body: Buffer, plan: DocumentPlan, mirrorBase: string, release: () => void) {
    this.#pieces = rewritten(body, plan, mirrorBase)
    this.#release = release
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  async next(): Promise<IteratorResult<Buffer, undefined>> {
    // Otherwise a client that takes all there is would keep the event loop until the end.
    await yieldToEventLoop()
    const next = this.#pieces.next()
    return next.done === true ? this.return() : { done: false, value: next.value }
  }

  return(): Promise<IteratorResult<Buffer, undefined>> {
    this.#pieces.return()
    this.#release()
    return Promise.resolve({ done: true, value: undefined })
  }
}
