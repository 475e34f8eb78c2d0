// The main thread's side of a thread that writes to the file of a partial (file-sink.ts is the other).

import { builtFile } from '../../built-file.ts'
import type { ByteRange } from '../../http/range.ts'
import type { PartialWriter } from '../store.ts'
import { CLAIMED, type FileSink, LIMIT } from './file-sink.ts'

export class FileWriter implements PartialWriter {
  readonly sink: { readonly module: string; readonly data: FileSink }
  readonly #marks = new BigInt64Array(new SharedArrayBuffer(2 * BigInt64Array.BYTES_PER_ELEMENT))

  /** The descriptor must stay open until the thread has stopped. */
  constructor(descriptor: number, { start, end }: ByteRange) {
    this.#marks[LIMIT] = BigInt(end)
    this.#marks[CLAIMED] = BigInt(start)
    const module = builtFile('store/partials/file-sink.js').href
    this.sink = { module, data: { descriptor, marks: this.#marks } }
  }

  limit(end: number): number {
    Atomics.store(this.#marks, LIMIT, BigInt(end))
    return Math.max(end, Number(Atomics.load(this.#marks, CLAIMED)))
  }
}
