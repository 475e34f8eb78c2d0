// Writes a body piece by piece: throttled, cut, stalled or corrupted as asked, and counted.
// Does not know what the bytes are or which headers announced them.

import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Damage } from './faults.ts'

const SLICES_PER_SECOND = 50
const LARGEST_SLICE_BYTES = 64 * 1024

/** How a body is to be written. */
export interface BodyPlan {
  readonly response: ServerResponse
  readonly pieces: Iterable<Buffer>
  /** Offset of the first byte in the file, for damage at a file offset. */
  readonly fileOffset: number
  readonly damage: Damage
  readonly bytesPerSecond: number | undefined
  /** Settles when the connection is gone, so that nothing waits for a caller who left. */
  readonly whenGone: Promise<unknown>
  readonly stall: () => Promise<void>
  readonly onBytes: (sizeBytes: number) => void
}

/** Writes the body and ends the answer, or breaks the connection where the damage says so. Never throws. */
export async function writeBody(plan: BodyPlan): Promise<void> {
  const { response, damage } = plan
  let sentBytes = 0
  for (const slice of slices(plan)) {
    if (sentBytes === damage.stallAfterBytes) await plan.stall()
    if (sentBytes === damage.cutAfterBytes) return cut(response, damage.cutWith ?? 'fin')
    if (response.destroyed || response.socket === null) return
    const bytes = corrupted(slice, damage.corruptAt, plan.fileOffset + sentBytes)
    await pace(response.socket, bytes.length, damage.dripBytesPerSecond ?? plan.bytesPerSecond)
    if (response.destroyed) return
    const hasRoom = response.write(bytes)
    sentBytes += bytes.length
    plan.onBytes(bytes.length)
    if (!hasRoom) await Promise.race([drained(response), plan.whenGone])
  }
  if (sentBytes === damage.stallAfterBytes) await plan.stall()
  if (sentBytes === damage.cutAfterBytes) return cut(response, damage.cutWith ?? 'fin')
  // A connection whose framing is wrong cannot carry another answer, though its headers promise it.
  if (damage.contentLength !== undefined || damage.extraBytes !== undefined) return cut(response, 'fin')
  response.end()
}

// Slices end exactly where damage begins, so that "after n bytes" is exact, and a stall at 0 comes before byte 0.
function* slices(plan: BodyPlan): Generator<Buffer> {
  const { damage } = plan
  const rate = damage.dripBytesPerSecond ?? plan.bytesPerSecond
  const largest =
    rate === undefined
      ? LARGEST_SLICE_BYTES
      : Math.max(1, Math.min(LARGEST_SLICE_BYTES, Math.floor(rate / SLICES_PER_SECOND)))
  const marks = [damage.stallAfterBytes, damage.cutAfterBytes].filter((mark) => mark !== undefined)
  let position = 0
  for (const piece of plan.pieces) {
    for (let at = 0; at < piece.length; ) {
      let stop = Math.min(piece.length, at + largest)
      for (const mark of marks) {
        const markAt = mark - position + at
        if (markAt > at && markAt < stop) stop = markAt
      }
      yield piece.subarray(at, stop)
      position += stop - at
      at = stop
    }
  }
}

function corrupted(slice: Buffer, corruptAt: number | undefined, sliceStart: number): Buffer {
  if (corruptAt === undefined || corruptAt < sliceStart || corruptAt >= sliceStart + slice.length)
    return slice
  // A copy: the slice may be a view of bytes that are kept.
  const copy = Buffer.from(slice)
  copy.writeUInt8(copy.readUInt8(corruptAt - sliceStart) ^ 0xff, corruptAt - sliceStart)
  return copy
}

/** Ends the connection without ending the answer. The bytes written so far are flushed first. */
export function cut(response: ServerResponse, how: 'fin' | 'rst'): void {
  const { socket } = response
  if (socket === null) return
  if (!response.headersSent) response.flushHeaders()
  // An empty write is called back after all that was written before it.
  socket.write('', () => {
    if (how === 'rst') socket.resetAndDestroy()
    else socket.destroySoon()
  })
}

const nextFreeAt = new WeakMap<Socket, number>()

// One bucket per connection, without credit for idle time: the rate is a ceiling at every moment.
async function pace(socket: Socket, sizeBytes: number, bytesPerSecond: number | undefined): Promise<void> {
  if (bytesPerSecond === undefined) return
  const now = performance.now()
  const startAt = Math.max(now, nextFreeAt.get(socket) ?? 0)
  nextFreeAt.set(socket, startAt + (sizeBytes / bytesPerSecond) * 1000)
  if (startAt > now) await sleep(startAt - now)
}

function drained(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    response.once('drain', resolve)
  })
}
