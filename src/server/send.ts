// Answer → reply: the only writer of success headers, and only once the first byte is certain. A body that cannot
// be completed breaks the connection; it never ends short (RFC 9112 §8).

import type { ServerResponse } from 'node:http'
import { cacheStatus, xCache } from '../http/cache-status.ts'
import { type Answer, type Body, type ByteSource, bodyLength, StorageFailed } from '../mirror/answer.ts'
import type { ReadBuffers } from './read-buffers.ts'
import type { Trace } from './trace.ts'

/** One read, one write: not worth two buffers. */
const SMALL_BYTES = 64 * 1024
/**
 * A stream holds a connection to the origin. A client that takes less than a chunk of some 64 KiB in this time has
 * stopped, and would starve the others; from the disk it may take as long as it likes.
 */
const STREAM_PATIENCE_MS = 120_000

/** The headers that say how the answer was come by. */
export function outcomeHeaders(
  answer: Pick<Answer, 'outcome' | 'originStatus' | 'isLimited'>,
): Record<string, string> {
  const { outcome, originStatus, isLimited } = answer
  const status = cacheStatus(outcome, {
    ...(originStatus === undefined ? {} : { fwdStatus: originStatus }),
    ...(outcome === 'stale' && isLimited === true ? { detail: 'origin-quota' } : {}),
  })
  const word = xCache(outcome)
  return {
    ...(status === undefined ? {} : { 'cache-status': status }),
    ...(word === undefined ? {} : { 'x-cache': word }),
  }
}

/**
 * Sends `answer` and closes its body, whatever happens. Rejects with what went wrong before the first byte (the
 * response is untouched then); after it the connection is destroyed and the reason is in the trace.
 */
export async function sendAnswer(
  response: ServerResponse,
  answer: Answer,
  options: { readonly trace: Trace; readonly buffers: ReadBuffers; readonly headOnly: boolean },
): Promise<void> {
  const { trace, buffers, headOnly } = options
  trace.outcome = answer.outcome
  const start = (): void => {
    trace.firstByteAt = performance.now()
    response.writeHead(answer.status, {
      'x-request-id': trace.id,
      ...answer.headers,
      ...outcomeHeaders(answer),
    })
  }
  const { body } = answer
  if (headOnly || body.kind === 'none' || bodyLength(body) === 0) {
    await closeBody(body)
    start()
    response.end()
    return
  }
  switch (body.kind) {
    case 'bytes':
      start()
      trace.bytes += body.bytes.length
      response.end(body.bytes)
      return
    case 'stream':
      await sendStream(response, body.stream, start, trace)
      return
    case 'source':
      await sendSource(response, body, start, { trace, buffers })
      return
    default:
      body satisfies never
  }
}

async function closeBody(body: Body): Promise<void> {
  if (body.kind === 'source') await body.source.close()
}

/**
 * Sends chunks as they come. `start` is called once the first one is there; what fails before that is thrown, what
 * fails later breaks the connection. The stream is closed either way.
 */
export async function sendStream(
  response: ServerResponse,
  stream: AsyncIterable<Buffer>,
  start: () => void,
  trace: Trace,
): Promise<void> {
  const chunks = stream[Symbol.asyncIterator]()
  // Before the headers: what fails here still becomes an honest status.
  let next = await chunks.next()
  start()
  try {
    while (next.done !== true) {
      const chunk = next.value
      await write(response, chunk, trace, STREAM_PATIENCE_MS)
      next = await chunks.next()
    }
    response.end()
  } catch (error) {
    breakOff(response, trace, error)
  } finally {
    await chunks.return?.().catch(() => undefined)
  }
}

async function sendSource(
  response: ServerResponse,
  body: Extract<Body, { kind: 'source' }>,
  start: () => void,
  options: { readonly trace: Trace; readonly buffers: ReadBuffers },
): Promise<void> {
  const { source, rescue } = body
  const { trace, buffers } = options
  const leave = buffers.enter()
  const progress = { position: source.range.start, started: false }
  const begin = (): void => {
    progress.started = true
    start()
  }
  try {
    await source.ready(progress.position)
    const length = source.range.end - source.range.start
    if (length <= SMALL_BYTES) await sendSmall(response, source, begin, trace)
    else await copy(response, source, begin, progress, options)
  } catch (error) {
    // The disk failed, not the file: the rest comes from where the file came from.
    if (rescue !== undefined && isDiskError(error) && !trace.isGone) {
      await sendStream(response, rescue(progress.position), progress.started ? () => undefined : begin, trace)
    } else if (progress.started) {
      breakOff(response, trace, error)
    } else {
      throw error
    }
  } finally {
    leave()
    await source.close()
  }
}

async function sendSmall(
  response: ServerResponse,
  source: ByteSource,
  begin: () => void,
  trace: Trace,
): Promise<void> {
  const { start, end } = source.range
  const bytes = Buffer.allocUnsafe(end - start)
  let position = start
  while (position < end) {
    const ready = await source.ready(position)
    const read = await source.read(bytes, position - start, ready - position, position)
    if (read === 0) throw new StorageFailed(new Error('the file is shorter than its facts say'))
    position += read
  }
  begin()
  trace.bytes += bytes.length
  response.end(bytes)
}

interface Filled {
  readonly buffer: Buffer
  readonly length: number
}

/** While one buffer is being sent the next is being read, for a client that has shown that it reads. */
async function copy(
  response: ServerResponse,
  source: ByteSource,
  begin: () => void,
  progress: { position: number },
  options: { readonly trace: Trace; readonly buffers: ReadBuffers },
): Promise<void> {
  const { trace, buffers } = options
  const { start, end } = source.range
  const fill = async (position: number): Promise<Filled> => {
    const ready = await source.ready(position)
    const buffer = buffers.take(buffers.sizeFor(position - start))
    try {
      const length = await source.read(buffer, 0, Math.min(buffer.length, ready - position), position)
      if (length === 0) throw new StorageFailed(new Error('the file is shorter than its facts say'))
      return { buffer, length }
    } catch (error) {
      buffers.give(buffer)
      throw error
    }
  }
  let filling: Promise<Filled> | undefined = fill(start)
  try {
    begin()
    while (filling !== undefined) {
      const { buffer, length }: Filled = await filling
      const next: number = progress.position + length
      filling = next < end && buffers.readsAhead(next - start) ? fill(next) : undefined
      // Heard in the next round, or below.
      filling?.catch(() => undefined)
      await write(response, buffer.subarray(0, length), trace)
      // Not given back when the write failed: the kernel may still hold it.
      buffers.give(buffer)
      progress.position = next
      if (next < end) filling ??= fill(next)
    }
    response.end()
  } finally {
    const last = await filling?.catch(() => undefined)
    if (last !== undefined && progress.position < end) buffers.give(last.buffer)
  }
}

/** Resolves when the bytes have left for the kernel, so that their buffer is free; rejects when the client has gone. */
function write(response: ServerResponse, bytes: Buffer, trace: Trace, patienceMs?: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const { signal } = trace
    if (signal.aborted) {
      reject(signal.reason as Error)
      return
    }
    const abort = (): void => reject(signal.reason as Error)
    signal.addEventListener('abort', abort, { once: true })
    const late =
      patienceMs === undefined
        ? undefined
        : setTimeout(() => reject(new Error('the client reads nothing')), patienceMs)
    response.write(bytes, (error) => {
      clearTimeout(late)
      signal.removeEventListener('abort', abort)
      if (error) {
        // Heard before the socket's close: nobody is there to write to.
        trace.leave()
        reject(error)
        return
      }
      trace.bytes += bytes.length
      resolve()
    })
  })
}

/** Ends a response that has begun so that no client can take it for whole. */
function breakOff(response: ServerResponse, trace: Trace, error: unknown): void {
  if (!trace.isGone) {
    trace.error = error
    trace.outcome = 'error'
  }
  // A reset, not an end: with a body framed by the connection's close a clean end would look whole.
  const { socket } = response
  if (socket === null) response.destroy()
  else socket.resetAndDestroy()
}

function isDiskError(error: unknown): boolean {
  if (error instanceof StorageFailed) return true
  if (!(error instanceof Error) || !('code' in error) || !('syscall' in error)) return false
  return error.syscall === 'read' || error.syscall === 'open'
}
