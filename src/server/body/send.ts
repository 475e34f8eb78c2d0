// Sends the answers of the mirror, and bodies that are passed through. The head is written only once the first byte is
// certain. A body that cannot be completed breaks the connection; it never ends short (RFC 9112 §8). Others that write
// heads: pass-through/ and transfers/ for responses of the Hub (their bodies come through here), fail.ts for errors,
// the fast path for cached responses.

import type { ServerResponse } from 'node:http'
import { cacheStatus, xCache } from '../../http/cache-status.ts'
import { headFields } from '../../http/headers.ts'
import type { ByteRange } from '../../http/range.ts'
import {
  type Answer,
  type Body,
  type ByteSource,
  bodyLength,
  closeBody,
  StorageFailed,
} from '../../mirror/answer.ts'
import { CONTENDED_FLOOR, DEFAULT_FLOOR, type Floor, Pace, TooSlow } from '../../origin/connections/pace.ts'
import { resetConnection } from '../node-http.ts'
import type { RequestRecord } from '../request-record.ts'
import type { FileReads } from './file-reads.ts'
import type { FileHandoff, Handoff, HandoffResult, StoredFile } from './handoff.ts'
import type { BufferLease } from './shared-reads.ts'

/** Up to this size a body takes one read and one write. */
export const SMALL_BYTES = 64 * 1024
/** Smaller ranges are not offered to another process: the exchange would cost more than sending the bytes from here. */
const OFFERED_FROM_BYTES = 256 * 1024
/** How often the speed of a slow client is checked: requests may have begun to wait for what it holds. */
const LOOK_AGAIN_MS = 5_000

interface SendOptions {
  readonly record: RequestRecord
  readonly reads: FileReads
  /** Offers a stored file to another process: `FileHandoff.offer`. */
  readonly offer?: ((file: StoredFile, range: ByteRange) => Promise<Handoff | undefined>) | undefined
}

/** The header fields that say where the answer came from. */
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
 * Sends `answer` and closes its body, whatever happens. Rejects with an error before the first byte, with the response
 * untouched. After the first byte, a failure breaks the connection, and the reason is in the record.
 */
export async function sendAnswer(
  response: ServerResponse,
  answer: Answer,
  options: Omit<SendOptions, 'offer'> & {
    readonly headOnly: boolean
    /** Another process that may send stored files in place of this one. */
    readonly handoff?: FileHandoff | undefined
  },
): Promise<void> {
  const { record, reads, headOnly, handoff } = options
  record.outcome = answer.outcome
  const { body, status } = answer
  const headers: Record<string, string> = {
    'x-request-id': record.id,
    ...(headOnly ? headFields(status, answer.headers) : answer.headers),
    ...outcomeHeaders(answer),
  }
  const start = (changed: Handoff['fields'] = {}): void => {
    record.firstByteAt = performance.now()
    for (const [name, value] of Object.entries(changed)) {
      if (value === undefined) delete headers[name]
      else headers[name] = value
    }
    response.writeHead(status, headers)
  }
  if (headOnly || body.kind === 'none' || bodyLength(body) === 0) {
    await closeBody(body)
    start()
    response.end()
    return
  }
  switch (body.kind) {
    case 'bytes':
      start()
      record.bytes += body.bytes.length
      response.end(body.bytes)
      return
    case 'stream':
      await sendStream(response, body.stream, start, { record, isWanted: body.isWanted })
      return
    case 'source':
      await sendSource(response, body, start, {
        record,
        reads,
        offer:
          handoff &&
          ((file, range) =>
            handoff.offer({ response, answer: { status, headers }, file, range, signal: record.signal })),
      })
      return
    default:
      body satisfies never
  }
}

/**
 * Sends chunks as they come. Calls `start` once the first one is there. Throws what fails before that; a later failure
 * breaks the connection. The stream is closed either way.
 *
 * A stream holds a shared resource, so a client that takes it too slowly is cut off, and sooner while other requests
 * wait (`isWanted`). A body from the disk holds none, and its client may take any time.
 */
export async function sendStream(
  response: ServerResponse,
  stream: AsyncIterable<Buffer>,
  start: () => void,
  {
    record,
    isWanted = () => false,
  }: { readonly record: RequestRecord; readonly isWanted?: (() => boolean) | undefined },
): Promise<void> {
  const chunks = stream[Symbol.asyncIterator]()
  // Before the head: a failure here still becomes a proper status.
  let next = await chunks.next()
  start()
  const writer = new ResponseWriter(response, record)
  const pace = new ClientPace(isWanted)
  try {
    while (next.done !== true) {
      const chunk = next.value
      await writer.write(chunk, pace)
      next = await chunks.next()
    }
    response.end()
  } catch (error) {
    breakOff(response, record, error)
  } finally {
    writer.close()
    await chunks.return?.().catch(() => undefined)
  }
}

/**
 * Sends the bytes of `source` and closes it. `start` is called once the first byte is certain. Where another process
 * sends the bytes, `start` gets the fields that its head needs. Throws what fails before `start` was called.
 */
export async function sendSource(
  response: ServerResponse,
  body: Extract<Body, { kind: 'source' }>,
  start: (changed?: Handoff['fields']) => void,
  options: SendOptions,
): Promise<void> {
  const { source, rescue } = body
  const { record } = options
  const progress = { position: source.range.start, started: false }
  const begin = (changed?: Handoff['fields']): void => {
    if (progress.started) return
    progress.started = true
    start(changed)
  }
  try {
    await source.waitFor(progress.position)
    const length = source.range.end - source.range.start
    const offered = await offeredTo(options.offer, source)
    if (offered !== undefined) {
      begin(offered.fields)
      response.flushHeaders()
      if (offered.result === undefined) {
        record.handedOver = length
        // The announced length never comes, so that a proxy that does not know the field takes the answer for broken.
        response.socket?.destroySoon()
        return
      }
      progress.position += await sentElsewhere(offered.result, record)
    }
    if (length <= SMALL_BYTES) await sendSmall(response, source, begin, record)
    else await copy(response, source, begin, progress, options)
  } catch (error) {
    // The disk failed, not the file: the rest comes from the origin.
    if (rescue !== undefined && isDiskError(error) && !record.isGone) {
      await sendStream(response, rescue(progress.position), begin, { record, isWanted: body.isWanted })
    } else if (progress.started) {
      breakOff(response, record, error)
    } else {
      throw error
    }
  } finally {
    await source.close()
  }
}

/** Offers what another process may send: a large part of a stored file that need not be checked while it is read. */
async function offeredTo(
  offer: SendOptions['offer'],
  { blob, range, isTrusted }: ByteSource,
): Promise<Handoff | undefined> {
  if (offer === undefined || blob === undefined || range.end - range.start < OFFERED_FROM_BYTES)
    return undefined
  return isTrusted?.() === false ? undefined : offer(blob, range)
}

/** Waits for the process that sends the file. Resolves with the bytes it has sent. Throws if the client has disconnected. */
async function sentElsewhere(result: Promise<HandoffResult>, record: RequestRecord): Promise<number> {
  const offeredAt = performance.now()
  const { bytes, firstByteMs, end } = await result
  record.bytes += bytes
  if (firstByteMs !== undefined) record.firstByteAt = offeredAt + firstByteMs
  if (end === 'left') record.leave()
  record.signal.throwIfAborted()
  return bytes
}

async function sendSmall(
  response: ServerResponse,
  source: ByteSource,
  begin: () => void,
  record: RequestRecord,
): Promise<void> {
  const { start, end } = source.range
  const bytes = Buffer.allocUnsafe(end - start)
  let position = start
  while (position < end) {
    const ready = await source.waitFor(position)
    const read = await source.read(bytes, position - start, ready - position, position)
    if (read === 0) throw new StorageFailed(new Error('the file is shorter than recorded'))
    position += read
  }
  begin()
  record.bytes += bytes.length
  response.end(bytes)
}

/**
 * Sends the bytes from `progress.position` on. For a client that has shown that it reads, the next piece is read while
 * one is being sent.
 */
async function copy(
  response: ServerResponse,
  source: ByteSource,
  begin: () => void,
  progress: { position: number },
  { record, reads }: SendOptions,
): Promise<void> {
  const { end } = source.range
  const writer = new ResponseWriter(response, record)
  const reader = reads.register(source, progress.position)
  let reading: Promise<BufferLease> | undefined =
    progress.position < end ? reader.read(progress.position) : undefined
  try {
    begin()
    while (reading !== undefined) {
      const { bytes, release }: BufferLease = await reading
      const next: number = progress.position + bytes.length
      reading = next < end && reader.readsAhead(next) ? reader.read(next) : undefined
      // Awaited in the next round, or below.
      reading?.catch(() => undefined)
      await writer.write(bytes).catch((error: unknown) => {
        release({ sent: false })
        throw error
      })
      release({ sent: true })
      progress.position = next
      if (next < end) reading ??= reader.read(next)
    }
    response.end()
  } finally {
    writer.close()
    reader.leave()
    const last = await reading?.catch(() => undefined)
    last?.release({ sent: true })
  }
}

/** Writes the body of one response, piece by piece. The caller must close it after the last piece or a failure. */
class ResponseWriter {
  readonly #response: ServerResponse
  readonly #record: RequestRecord
  // Rejects the write under way. One listener serves the whole response: one per piece would cost more than the piece.
  #fail: ((reason: Error) => void) | undefined
  #late: NodeJS.Timeout | undefined
  readonly #abort = (): void => this.#fail?.(this.#record.signal.reason as Error)

  constructor(response: ServerResponse, record: RequestRecord) {
    this.#response = response
    this.#record = record
    record.signal.addEventListener('abort', this.#abort, { once: true })
  }

  /**
   * Resolves when the kernel has taken the bytes, so that their buffer is free. Rejects when the client has
   * disconnected.
   */
  write(bytes: Buffer, pace?: ClientPace): Promise<void> {
    return new Promise((resolve, reject) => {
      const response = this.#response
      const record = this.#record
      this.#fail = reject
      if (record.isGone) {
        this.#abort()
        return
      }
      if (pace !== undefined) this.#watch(pace)
      response.write(bytes, (error) => {
        clearTimeout(this.#late)
        pace?.took(bytes.length)
        // Node reports no error for a write to a socket that has been destroyed.
        if (error || response.destroyed || response.socket?.destroyed === true) {
          // This comes before the socket's `close`, and the client is gone already.
          record.leave()
          reject(error ?? new Error('the client has disconnected'))
          return
        }
        record.bytes += bytes.length
        resolve()
      })
    })
  }

  /** Checks repeatedly whether the client is too slow, until it has taken the piece under way. */
  #watch(pace: ClientPace): void {
    this.#late = setTimeout(() => {
      if (pace.isTooSlow()) this.#fail?.(new TooSlow('the client'))
      else this.#watch(pace)
    }, pace.lookAgainMs())
  }

  close(): void {
    // Node emits nothing more for a pipelined response whose turn never came.
    clearTimeout(this.#late)
    this.#record.signal.removeEventListener('abort', this.#abort)
  }
}

/** How fast a client takes a stream. Counts only the time in which a write waits for the client. */
class ClientPace {
  readonly #isWanted: () => boolean
  readonly #pace = new Pace()
  #since = 0

  constructor(isWanted: () => boolean) {
    this.#isWanted = isWanted
  }

  /** Begins a wait for the client. Returns when to check its speed, in milliseconds. */
  lookAgainMs(): number {
    this.#since = performance.now()
    return Math.max(1, Math.min(LOOK_AGAIN_MS, this.#pace.creditMs(this.#floor())))
  }

  took(bytes: number): void {
    this.#pace.record(performance.now() - this.#since, bytes, this.#floor())
  }

  isTooSlow(): boolean {
    this.took(0)
    return this.#pace.creditMs(this.#floor()) <= 0
  }

  #floor(): Floor {
    return this.#isWanted() ? CONTENDED_FLOOR : DEFAULT_FLOOR
  }
}

/** Notes the error, and breaks the connection. */
function breakOff(response: ServerResponse, record: RequestRecord, error: unknown): void {
  if (!record.isGone) {
    record.error = error
    record.outcome = 'error'
  }
  breakConnection(response)
}

/** Ends a response that has begun, in a way that no client can take for a complete body. */
export function breakConnection(response: ServerResponse): void {
  const { socket } = response
  // A reset, not an end: a body that is framed by the close of its connection would look complete after a clean end.
  // Between the processes of a mirror no body is framed so, and their kind of socket has no reset.
  if (socket?.remoteFamily === undefined) response.destroy()
  else resetConnection(socket)
}

function isDiskError(error: unknown): boolean {
  if (error instanceof StorageFailed) return true
  if (!(error instanceof Error) || !('code' in error) || !('syscall' in error)) return false
  return error.syscall === 'read' || error.syscall === 'open'
}
