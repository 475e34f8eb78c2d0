// A finished blob that the main process offers instead of a body: opened and sent from here, while the main process
// keeps it from eviction. What cannot be read here comes from there after all.

import type { FileHandle } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { type ByteSource, StorageFailed } from '../../mirror/answer.ts'
import type { FileReads } from '../../server/body/file-reads.ts'
import type { HandoffResult } from '../../server/body/handoff.ts'
import { sendSource } from '../../server/body/send.ts'
import { Trace } from '../../server/request-record.ts'
import { openBlobFile } from '../../store/blobs/blob-file.ts'
import { isBlobKey } from '../../store/digest.ts'
import type { Layout } from '../../store/layout.ts'
import type { Offer } from '../peer.ts'

export interface OfferOptions {
  readonly layout: Layout
  readonly reads: FileReads
  /** Tells the main process what became of it, once per offer. */
  readonly tell: (id: number, taken: HandoffResult) => void
  /** The file cannot be read here. */
  readonly onTrouble: (error: unknown) => void
}

/** The answer that comes with an offer. */
export interface OfferedAnswer {
  readonly incoming: IncomingMessage
  readonly response: ServerResponse
  /** The client's: an answer that waits for its turn on it has none yet. */
  readonly socket: Socket
  /** Writes the head. */
  readonly start: () => void
}

/** Sends the offered bytes to the client. Never rejects: what goes wrong breaks the connection. */
export async function takeOffer(offer: Offer, answer: OfferedAnswer, options: OfferOptions): Promise<void> {
  const { incoming, response, socket } = answer
  const { range } = offer
  const trace = new Trace('')
  const tell = (end: HandoffResult['end']): void => {
    const { firstByteAt, startedAt } = trace
    const firstByteMs = firstByteAt === undefined ? undefined : firstByteAt - startedAt
    options.tell(offer.id, { bytes: trace.bytes, firstByteMs, end })
  }
  const left = (): void => {
    if (!response.writableFinished) trace.leave()
  }
  // The main process has gone: there is nobody left to tell, and its hold on the file has ended.
  const lost = (): void => {
    if (!incoming.complete) trace.leave()
  }
  response.once('close', left)
  socket.once('close', left)
  if (socket.destroyed) left()
  incoming.once('close', lost)
  incoming.on('error', () => undefined)
  let isHandedBack = false
  const rescue = (): AsyncIterable<Buffer> => {
    isHandedBack = true
    tell('stopped')
    return incoming
  }
  try {
    const source = openSource(offer, options)
    await sendSource(
      response,
      { kind: 'source', source, rescue },
      () => {
        trace.firstByteAt = performance.now()
        answer.start()
      },
      { trace, reads: options.reads },
    )
  } catch (error) {
    // Nothing was sent, and nothing came from the main process either.
    options.onTrouble(error)
    response.destroy()
  } finally {
    response.off('close', left)
    socket.off('close', left)
    incoming.off('close', lost)
    const isWhole = trace.bytes === range.end - range.start && !trace.isGone
    if (!isHandedBack) tell(isWhole ? 'sent' : 'left')
    // Its end is all that may still come, so that the connection can be used again.
    incoming.resume()
  }
}

/** The file is opened when it is first asked for; what is wrong with it counts as the disk's failure. */
function openSource({ key, sizeBytes, range }: Offer, { layout, onTrouble }: OfferOptions): ByteSource {
  let handle: FileHandle | undefined
  return {
    range,
    async ready() {
      if (handle !== undefined) return range.end
      if (!isBlobKey(key)) throw new StorageFailed(new Error('no blob has this name'))
      try {
        const opened = await openBlobFile(layout.blob(key), sizeBytes)
        if (typeof opened === 'string') throw new Error(`the blob is ${opened}`)
        handle = opened.handle
      } catch (error) {
        onTrouble(error)
        throw new StorageFailed(error)
      }
      return range.end
    },
    async read(buffer, offset, length, position) {
      if (handle === undefined) throw new StorageFailed(new Error('the blob is not open'))
      return (await handle.read(buffer, offset, length, position)).bytesRead
    },
    async close() {
      await handle?.close()
    },
  }
}
