// Sends a stored file that the main process offers in place of a body. The main process protects the file from eviction
// meanwhile, and sends what this process cannot read.

import type { FileHandle } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { type ByteSource, StorageFailed } from '../../mirror/answer.ts'
import type { FileReads } from '../../server/body/file-reads.ts'
import type { HandoffResult } from '../../server/body/handoff.ts'
import { sendSource } from '../../server/body/send.ts'
import { RequestRecord } from '../../server/request-record.ts'
import { openBlobFile } from '../../store/blobs/blob-file.ts'
import { isBlobKey } from '../../store/digest.ts'
import type { Layout } from '../../store/layout.ts'
import type { Offer } from '../header-fields.ts'

export interface SendOptions {
  readonly layout: Layout
  readonly reads: FileReads
  /** Reports to the main process what was sent, once per offer. */
  readonly report: (id: number, result: HandoffResult) => void
  /** Called when this process cannot read the file. */
  readonly onTrouble: (error: unknown) => void
}

/** The response to the client, and the answer that came with the offer. */
export interface OfferedResponse {
  readonly incoming: IncomingMessage
  readonly response: ServerResponse
  /** The client's. A response that waits for those before it on the connection has no socket yet. */
  readonly socket: Socket
  /** Writes the head. */
  readonly start: () => void
}

/** Sends the offered bytes to the client. Never rejects: a failure breaks the connection. */
export async function sendOffered(
  offer: Offer,
  answer: OfferedResponse,
  options: SendOptions,
): Promise<void> {
  const { incoming, response, socket } = answer
  const { range } = offer
  const record = new RequestRecord('')
  const report = (end: HandoffResult['end']): void => {
    const { firstByteAt, startedAt } = record
    const firstByteMs = firstByteAt === undefined ? undefined : firstByteAt - startedAt
    options.report(offer.id, { bytes: record.bytes, firstByteMs, end })
  }
  const left = (): void => {
    if (!response.writableFinished) record.leave()
  }
  // The main process has exited, so the file is no longer protected from eviction.
  const lost = (): void => {
    if (!incoming.complete) record.leave()
  }
  response.once('close', left)
  socket.once('close', left)
  if (socket.destroyed) left()
  incoming.once('close', lost)
  incoming.on('error', () => undefined)
  let isHandedBack = false
  const rescue = (): AsyncIterable<Buffer> => {
    isHandedBack = true
    report('stopped')
    return incoming
  }
  try {
    const source = openSource(offer, options)
    await sendSource(
      response,
      { kind: 'source', source, rescue },
      () => {
        record.firstByteAt = performance.now()
        answer.start()
      },
      { record, reads: options.reads },
    )
  } catch (error) {
    // Nothing was sent, neither from here nor by the main process.
    options.onTrouble(error)
    response.destroy()
  } finally {
    response.off('close', left)
    socket.off('close', left)
    incoming.off('close', lost)
    const isWhole = record.bytes === range.end - range.start && !record.isGone
    if (!isHandedBack) report(isWhole ? 'sent' : 'left')
    // Only its end may still come. It is read, so that the connection can be used again.
    incoming.resume()
  }
}

/** The file is opened by the first `waitFor`. An error in opening it counts as a failure of the disk (StorageFailed). */
function openSource({ key, sizeBytes, range }: Offer, { layout, onTrouble }: SendOptions): ByteSource {
  let handle: FileHandle | undefined
  return {
    range,
    async waitFor() {
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
