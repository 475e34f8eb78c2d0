// Requests by which a command brings content into the store, over the control socket of the process that has it open.

import { type IncomingMessage, request } from 'node:http'
import { Readable } from 'node:stream'
import { finished, pipeline } from 'node:stream/promises'
import { parseRecord } from '../../records.ts'
import { MirrorGone, type MirrorWatch } from '../prefetch/silence.ts'

const MAX_ANSWER_BYTES = 16 * 1024 * 1024

/** The mirror does not take what is brought. The message says why. */
export class Refused extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'Refused'
  }
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
   * Sends bytes, and resolves with the answer. Rejects with Refused if the mirror does not take them, with MirrorGone if it has
   * ended or is silent, with the error of `body`, and with the reason of the signal.
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
      await sending
      // It counts, whatever became of the bytes that it did not wait for.
      if (status === 200) return value
      const { error } = value
      throw new Refused(typeof error === 'string' ? error : UNKNOWN)
    } catch (error) {
      await sending
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

const UNKNOWN = 'the running mirror is of a version that takes no bundles, or has failed; its log may say why'

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
