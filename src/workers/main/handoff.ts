// Stored files that workers send in place of the main process. The main process keeps each file open, and so pinned,
// until the worker has reported what became of it.

import type { FileHandoff, Handoff, HandoffResult } from '../../server/body/handoff.ts'
import { formatOffer, HANDOFF_FIELD } from '../header-fields.ts'

export class WorkerHandoff implements FileHandoff {
  // The offers that workers have not answered yet.
  readonly #open = new Map<number, (result: HandoffResult) => void>()
  #lastId = 0

  async offer({ file, range, signal }: Parameters<FileHandoff['offer']>[0]): Promise<Handoff> {
    this.#lastId += 1
    const id = this.#lastId
    const result = new Promise<HandoffResult>((resolve, reject) => {
      const over = (): void => {
        this.#open.delete(id)
        signal.removeEventListener('abort', abort)
      }
      const abort = (): void => {
        over()
        reject(signal.reason as Error)
      }
      this.#open.set(id, (answer) => {
        over()
        resolve(answer)
      })
      signal.addEventListener('abort', abort, { once: true })
      if (signal.aborted) abort()
    })
    // The caller may fail before it awaits the result.
    result.catch(() => undefined)
    const { key, sizeBytes } = file
    // What follows on the private socket is only what the worker could not send, so its length is not known yet.
    const fields = {
      [HANDOFF_FIELD]: formatOffer({ id, key, sizeBytes, range }),
      'content-length': undefined,
    }
    return { fields, result }
  }

  /** A worker's report. It comes too late where nothing waits for the offer any more. */
  settle(id: number, result: HandoffResult): void {
    this.#open.get(id)?.(result)
  }
}
