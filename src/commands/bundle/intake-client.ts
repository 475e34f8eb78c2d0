// Requests by which a command brings content into the store, over the control socket of the process that has it open.

import { type IncomingMessage, request } from 'node:http'
import { Readable } from 'node:stream'
import { finished, pipeline } from 'node:stream/promises'
import { MAKE_ROOM_AND_REPEAT } from '../../disk-errors.ts'
import { parseRecord } from '../../records.ts'
import { SMALL_BYTES } from '../../store/blobs/blob-file.ts'
import type { BlobKey } from '../../store/digest.ts'
import { MirrorGone, type MirrorWatch } from '../prefetch/silence.ts'
import { plural } from '../store-output.ts'

const MAX_ANSWER_BYTES = 16 * 1024 * 1024

/** The mirror does not take what is brought. The message says why. */
export class Refused extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'Refused'
  }
}

/** The store takes nothing more: it is full, read-only, or its disk has failed. */
export class StoreFull extends Refused {
  constructor(message: string) {
    super(message)
    this.name = 'StoreFull'
  }
}

/** Blobs of one request. */
const BLOBS_AT_ONCE = 1_000

/** What the store has, or is to have, of one blob. */
export interface Blob {
  readonly key: BlobKey
  readonly sizeBytes: number
}

/** What `look` has found of some blobs. */
export interface Looked {
  readonly missing: ReadonlySet<BlobKey>
  /** Stored, and kept from eviction by the operator or a reader. */
  readonly held: ReadonlySet<BlobKey>
}

export class IntakeClient {
  readonly #socketPath: string
  readonly #signal: AbortSignal
  readonly #watch: MirrorWatch | undefined

  /** `watch` as for ControlClient. */
  constructor(socketPath: string, signal: AbortSignal, watch?: MirrorWatch) {
    this.#socketPath = socketPath
    this.#signal = signal
    this.#watch = watch
  }

  /** Sends JSON. Rejects as `send` does. */
  ask(action: string, value: unknown): Promise<Record<string, unknown>> {
    return this.send(action, undefined, [Buffer.from(JSON.stringify(value))])
  }

  /**
   * Resolves with those that are not stored, and with those that are stored and cannot be evicted now. All that are stored count as
   * used now, so they are evicted last. Rejects as `send` does.
   */
  async look(blobs: readonly Blob[]): Promise<Looked> {
    const looked = { missing: new Set<BlobKey>(), held: new Set<BlobKey>() }
    for (let start = 0; start < blobs.length; start += BLOBS_AT_ONCE) {
      const some = blobs.slice(start, start + BLOBS_AT_ONCE).map(({ key, sizeBytes }) => ({ key, sizeBytes }))
      const { missing, held } = await this.ask('missing', { blobs: some })
      if (!Array.isArray(missing) || !Array.isArray(held)) throw new Refused(UNKNOWN)
      for (const key of missing as BlobKey[]) looked.missing.add(key)
      for (const key of held as BlobKey[]) looked.held.add(key)
    }
    return looked
  }

  /**
   * Rejects with StoreFull if the store cannot hold those of `blobs` that are missing together with the others, before anything is
   * evicted for them, and else as `send` does. The other argument is what `look` has said of `blobs`.
   */
  async requireRoom(blobs: readonly Blob[], { missing, held }: Looked): Promise<void> {
    if (missing.size === 0) return
    const sums = { bytes: 0, keptBytes: 0, smallBytes: 0 }
    for (const { key, sizeBytes } of blobs) {
      const isMissing = missing.has(key)
      if (isMissing) sums.bytes += sizeBytes
      // The mirror never counts on the space of those that are held.
      else if (!held.has(key)) sums.keptBytes += sizeBytes
      if (isMissing && sizeBytes <= SMALL_BYTES) sums.smallBytes += sizeBytes
    }
    await this.ask('room', sums)
  }

  /** Rejects with StoreFull if one of them was evicted while others were stored, and else as `send` does. */
  async requireStored(blobs: readonly Blob[]): Promise<void> {
    const { missing } = await this.look(blobs)
    if (missing.size === 0) return
    throw new StoreFull(
      `${plural(missing.size, 'blob')} of ${blobs.length} had to go again while the others were stored: the store has no space for all. ` +
        MAKE_ROOM_AND_REPEAT,
    )
  }

  /**
   * Sends bytes, and resolves with the answer. Rejects with Refused if the mirror does not take them, with StoreFull if its store is why,
   * with MirrorGone if it has ended or is silent, with the error of `body`, and with the reason of the signal.
   */
  async send(
    action: string,
    about: unknown,
    body: Iterable<Buffer> | AsyncIterable<Buffer>,
  ): Promise<Record<string, unknown>> {
    const query = about === undefined ? '' : `?about=${encodeURIComponent(JSON.stringify(about))}`
    const outgoing = request({
      socketPath: this.#socketPath,
      path: `/-/intake/${action}${query}`,
      method: 'POST',
      headers: { host: 'localhost', 'content-type': 'application/octet-stream' },
      signal: this.#signal,
    })
    const ended = this.#watch?.begin(outgoing)
    const answered = new Promise<IncomingMessage>((resolve, reject) => {
      outgoing.once('response', resolve)
      outgoing.once('error', reject)
      outgoing.once('close', () => reject(new Error('the connection was closed')))
    })
    // It may answer, and close the connection, before all bytes were sent.
    let own: unknown
    const pieces = piecesOf(body)
    const watched = async function* (): AsyncGenerator<Buffer, void, undefined> {
      try {
        for (;;) {
          const next = await pieces.next().catch((error: unknown) => {
            own = error
            throw error
          })
          if (next.done === true) return
          // If the connection breaks, the stream throws its error in here. That is none of the body's.
          yield next.value
        }
      } finally {
        await pieces.return()
      }
    }
    const sending = pipeline(
      Readable.from(watched(), { objectMode: true, highWaterMark: 1 }),
      outgoing,
    ).catch(() => undefined)
    try {
      const answer = await answered
      const { status, value } = await readAnswer(answer)
      if (status === 200) {
        // It counts, whatever became of the bytes that it did not wait for.
        await sending
        return value
      }
      const { error } = value
      const text = typeof error === 'string' && status !== 404 ? error : UNKNOWN
      throw status === 507 ? new StoreFull(text) : new Refused(text)
    } catch (error) {
      // The body is not waited for: its next piece may never come.
      outgoing.destroy()
      if (error instanceof Refused) throw error
      if (own !== undefined) throw own as Error
      this.#signal.throwIfAborted()
      throw error instanceof MirrorGone ? error : new MirrorGone(error)
    } finally {
      ended?.()
    }
  }
}

async function* piecesOf(
  body: Iterable<Buffer> | AsyncIterable<Buffer>,
): AsyncGenerator<Buffer, void, undefined> {
  yield* body
}

const UNKNOWN =
  'the running mirror does not understand this command, because it is of another version, or has failed. Look into its log, and start it ' +
  'again with the version of this command'

async function readAnswer(
  answer: IncomingMessage,
): Promise<{ readonly status: number; readonly value: Record<string, unknown> }> {
  const pieces: Buffer[] = []
  let sizeBytes = 0
  answer.on('data', (piece: Buffer) => {
    sizeBytes += piece.length
    if (sizeBytes > MAX_ANSWER_BYTES) answer.destroy(new Error('the answer is too long'))
    else pieces.push(piece)
  })
  await finished(answer)
  return { status: answer.statusCode ?? 0, value: parseRecord(Buffer.concat(pieces).toString()) ?? {} }
}
