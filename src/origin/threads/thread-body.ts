// The body of an answer that another thread receives. Its bytes never come to this thread: they go to a sink, and what
// comes here is how many of them are there.

import { Readable } from 'node:stream'
import type { SinkTarget } from './sink.ts'

/** The thread, or what it was to receive, has failed. */
export class ThreadFailed extends Error {
  readonly code: string

  constructor(code: string, message: string) {
    super(message)
    this.name = 'ThreadFailed'
    this.code = code
  }
}

/**
 * A body that waits to be written to a sink. It is destroyed like every body; its `close` comes when the thread has stopped
 * writing. It cannot be read.
 */
export class ThreadBody extends Readable {
  readonly #thread: { readonly write: (target: SinkTarget) => void; readonly end: () => void }
  #writtenBytes = 0
  /** How the thread has ended its work: with all bytes, or with an error. */
  #end: { readonly error: Error | undefined } | undefined
  #wake = (): void => {}
  #stop = (): void => {}
  #close = (): void => {}
  /** Resolves when the thread writes no more. */
  readonly #stopped = new Promise<void>((resolve) => (this.#stop = resolve))

  constructor(thread: { readonly write: (target: SinkTarget) => void; readonly end: () => void }) {
    super({ highWaterMark: 0 })
    this.#thread = thread
    // Without a listener, an error of an unread body would end the process.
    this.on('error', () => undefined)
  }

  /** The thread has written more bytes. */
  written(bytes: number): void {
    this.#writtenBytes += bytes
    this.#wake()
  }

  /** The thread writes no more: all is there, or it has failed with `error`. */
  stopped(error?: Error): void {
    if (this.#end !== undefined) return
    this.#end = { error }
    this.#stop()
    this.#close()
    this.#wake()
  }

  /**
   * Has the body written. Yields how many more bytes are in the sink: all together are `wantedBytes`, or fewer if the sink
   * wants no more. Throws what the body was destroyed with, SinkFailed, or an error with the code of Node or one that ends
   * with `_TIMEOUT`. When it has ended in any way, nothing is written any more.
   */
  async *writeTo(target: SinkTarget): AsyncGenerator<number, void, undefined> {
    this.#thread.write(target)
    try {
      for (;;) {
        const bytes = this.#writtenBytes
        this.#writtenBytes = 0
        if (bytes > 0) yield bytes
        else if (this.destroyed) throw this.errored ?? new ThreadFailed('ABORT_ERR', 'the body was given up')
        else if (this.#end?.error !== undefined) throw this.#end.error
        else if (this.#end !== undefined) return
        else await new Promise<void>((resolve) => (this.#wake = resolve))
      }
    } finally {
      this.destroy()
      await this.#stopped
    }
  }

  /** Gives the body up. */
  dump(): Promise<void> {
    this.destroy()
    return Promise.resolve()
  }

  override _read(): void {
    this.destroy(new ThreadFailed('ERR_METHOD_NOT_IMPLEMENTED', 'the bytes of this body go to a sink'))
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#wake()
    if (this.#end !== undefined) {
      callback(error)
      return
    }
    this.#close = () => callback(error)
    this.#thread.end()
  }
}
