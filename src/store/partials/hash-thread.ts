// Digests of files that are still growing, taken off the main thread: hashing a gigabyte there would hold every
// request up for half a second. One thread for all files; it starts with the first and never keeps the process alive.

import { Worker } from 'node:worker_threads'
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
   * Starts hashing `file`, which must exist and may be renamed from now on. `sums` are those of all its bytes when it is
   * known whether the digest matches.
   */
  open(file: string, key: BlobKey, sizeBytes: number, sums?: BlockSums): GrowingDigest {
    const worker = (this.#worker ??= this.#start())
    this.#lastId += 1
    const id = this.#lastId
    const send = (request: HashRequest): void => worker.postMessage(request)
    const matches = new Promise<boolean>((resolve, reject) =>
      this.#waiting.set(id, { resolve, reject, sums }),
    )
    // Whoever needs the answer awaits it; a flight that ends before does not.
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

  /** Ends the thread; digests under way are rejected. */
  async close(): Promise<void> {
    const worker = this.#worker
    this.#worker = undefined
    this.#rejectAll(new Error('the hash thread was closed'))
    await worker?.terminate()
  }

  #start(): Worker {
    // A thread cannot load TypeScript: run from source (tests, tsx), it is the built one all the same.
    const unbuilt = import.meta.url.endsWith('.ts')
    const worker = new Worker(
      new URL(unbuilt ? '../../../dist/store/partials/hash-worker.js' : './hash-worker.js', import.meta.url),
    )
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
