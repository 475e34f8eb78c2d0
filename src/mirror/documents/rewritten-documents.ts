// The bytes of documents as clients are sent them, for those that differ from what is stored. Making them again for each
// request would cost more than all else about it.

import { rewritten, rewrittenLength } from '../../hub/rewrite.ts'
import { MemoryCache } from '../../memory.ts'
import { SingleFlight } from '../single-flight.ts'
import { yieldToEventLoop } from '../turns.ts'
import type { DigestedPlan } from './document-plans.ts'

export class RewrittenDocuments {
  readonly #maxEntryBytes: number
  readonly #made: MemoryCache<Buffer>
  readonly #making = new SingleFlight<Buffer>()

  constructor(options: { readonly maxBytes: number }) {
    this.#maxEntryBytes = options.maxBytes / 8
    this.#made = new MemoryCache({
      maxBytes: options.maxBytes,
      maxEntryBytes: this.#maxEntryBytes,
      sizeOf: (bytes) => bytes.length,
    })
  }

  /**
   * `body` after the changes of `plan`, with the base URL by which the client knows the mirror. It must not be written to.
   * Undefined for a document that is too large to be kept: it is changed while it is sent.
   */
  async of(body: Buffer, plan: DigestedPlan, mirrorBase: string): Promise<Buffer | undefined> {
    if (plan.edits.length === 0) return body
    if (rewrittenLength(body, plan, mirrorBase) > this.#maxEntryBytes) return undefined
    const key = plan.hasBase ? `${plan.digest} ${mirrorBase}` : plan.digest
    return this.#made.get(key) ?? this.#making.run(key, () => this.#make(key, body, plan, mirrorBase))
  }

  async #make(key: string, body: Buffer, plan: DigestedPlan, mirrorBase: string): Promise<Buffer> {
    const pieces: Buffer[] = []
    for (const piece of rewritten(body, plan, mirrorBase)) {
      if (pieces.length > 0) await yieldToEventLoop()
      pieces.push(piece)
    }
    // Not a part of a larger buffer, which would stay in memory with it.
    const size = pieces.reduce((sum, { length }) => sum + length, 0)
    const bytes = Buffer.allocUnsafeSlow(size)
    let end = 0
    for (const piece of pieces) end += piece.copy(bytes, end)
    this.#made.set(key, bytes)
    return bytes
  }
}
