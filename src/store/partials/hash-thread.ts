// Computes digests of growing files on another thread: hashing a gigabyte on the main thread would delay all requests by
// half a second. There is one thread for all files. It starts with the first file, and does not keep the process alive.

import { Worker } from 'node:worker_threads'
import { builtFile } from '../../built-file.ts'
import type { BlockSums } from '../blobs/block-sums.ts'
import type { BlobKey } from '../digest.ts'
import type { GrowingDigest } from '../store.ts'

export type HashRequest =
  | {
      readonly kind: 'open'
      readonly id: number
      readonly file: string
      readonly key: BlobKey
      readonly sizeBytes: number
      readonly withSums: boolean
    }
  | { readonly kind: 'advance'; readonly id: number; readonly end: number }
  | { readonly kind: 'close'; readonly id: number }

export type HashReply =
  | {
      readonly kind: 'done'
      readonly id: number
      readonly matches: boolean
      readonly sums: Uint32Array | undefined
    }
  | { readonly kind: 'failed'; readonly id: number; readonly reason: string }

interface Waiting {
  readonly sums: BlockSums | undefined
  readonly resolve: (matches: boolean) => void
  readonly reject: (error: Error) => void
}

export class HashThread {
  readonly #waiting = new Map<number, Waiting>()
  #worker: Worker | undefined
  #lastId = 0

  /**
   * Starts hashing `file`, which must exist; the caller closes the digest. The file may be renamed once the thread has
   * opened it, which is before `matches` can resolve. `sums` are filled in before `matches` resolves.
   */
  open(file: string, key: BlobKey, sizeBytes: number, sums?: BlockSums): GrowingDigest {
    const worker = (this.#worker ??= this.#start())
    this.#lastId += 1
    const id = this.#lastId
    const send = (request: HashRequest): void => worker.postMessage(request)
    const matches = new Promise<boolean>((resolve, reject) =>
      this.#waiting.set(id, { resolve, reject, sums }),
    )
    // A download that ends early does not await the result; its rejection must not end the process.
    matches.catch(() => undefined)
    send({ kind: 'open', id, file, key, sizeBytes, withSums: sums !== undefined })
    return {
      matches,
      advance: (end) => send({ kind: 'advance', id, end }),
      close: () => {
        if (this.#waiting.delete(id)) send({ kind: 'close', id })
      },
    }
  }

  /** Ends the thread. Digests under way reject. */
  async close(): Promise<void> {
    const worker = this.#worker
    this.#worker = undefined
    this.#rejectAll(new Error('the hash thread was closed'))
    await worker?.terminate()
  }

  #start(): Worker {
    const worker = new Worker(builtFile('store/partials/hash-worker.js'))
    worker.unref()
    worker.on('message', (reply: HashReply) => {
      const waiting = this.#waiting.get(reply.id)
      this.#waiting.delete(reply.id)
      if (reply.kind === 'failed') {
        waiting?.reject(new Error(reply.reason))
        return
      }
      if (reply.sums !== undefined) waiting?.sums?.adopt(reply.sums)
      waiting?.resolve(reply.matches)
    })
    worker.on('error', (error) => {
      // The next file gets a new thread.
      if (this.#worker === worker) this.#worker = undefined
      this.#rejectAll(error)
    })
    return worker
  }

  #rejectAll(error: Error): void {
    for (const waiting of this.#waiting.values()) waiting.reject(error)
    this.#waiting.clear()
  }
}
