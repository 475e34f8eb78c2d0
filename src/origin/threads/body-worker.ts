// The thread that receives long bodies over TLS (body-threads.ts is the other end). It knows hosts, requests as they are
// sent, bytes, and the sink that they go to; no redirect, no credential. Bytes are read into one buffer that all
// connections share, which costs half of what a parser of HTTP costs, and are collected into pieces for the sink.
//
// A sink is called on this thread and may take its time: then nothing is read, and the peers wait. That time is not theirs,
// so no limit counts it: limits are measured on a clock that stands still meanwhile.

import { isIP, type OnReadOpts } from 'node:net'
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls'
import { parentPort } from 'node:worker_threads'
import { KEEP_IDLE_MS } from '../connections/keep-idle.ts'
import { Pace } from '../connections/pace.ts'
import { type AnswerHead, MAX_HEAD_BYTES, readAnswerHead } from './answer-head.ts'
import {
  type BodyReply,
  type BodyRequest,
  type ErrorFields,
  MAX_SHORT_BYTES,
  PIECE_BYTES,
  SHORT_BODY,
} from './messages.ts'
import type { OpenSink, SinkModule, SinkTarget } from './sink.ts'

type Fetch = Extract<BodyRequest, { readonly kind: 'fetch' }>

/** Decrypted bytes come in records of at most 16 KiB. */
const READ_BYTES = 64 * 1024
/** A reader learns this late of bytes that have arrived, or twice as late. */
const FLUSH_MS = 5
/** Memory for pieces to come: more was given back than the bodies under way need. */
const MAX_SPARE = 8
const MAX_SESSIONS = 100

const shared = Buffer.allocUnsafeSlow(READ_BYTES)
const transfers = new Map<number, Transfer>()
const spare: Buffer[] = []
const idle = new Map<string, Connection[]>()
/** TLS sessions by origin, for the next connection there. */
const sessions = new Map<string, Buffer>()
/** Bytes in their sinks that were not reported to the main thread, by transfer. */
const unreported = new Map<number, number>()
let tick: NodeJS.Timeout | undefined
let writingMs = 0

parentPort?.on('message', (request: BodyRequest) => {
  if (request.kind === 'fetch') new Transfer(request).start()
  else if (request.kind === 'write') void write(request.id, request)
  else {
    transfers.get(request.id)?.end()
    reply({ kind: 'ended', id: request.id })
  }
})

async function write(id: number, target: SinkTarget): Promise<void> {
  try {
    const { module, data } = target.sink
    const { openSink } = (await import(module)) as SinkModule
    transfers.get(id)?.write(target, openSink(data))
  } catch (error) {
    transfers.get(id)?.sinkFailed(error)
  }
}

/** Milliseconds in which this thread could listen to its peers. */
function clock(): number {
  return performance.now() - writingMs
}

/** Sends a message. What was written before is reported first. */
function reply(message: BodyReply): void {
  report()
  parentPort?.postMessage(message)
}

function report(): void {
  if (unreported.size === 0) return
  const message: BodyReply = { kind: 'written', bytes: [...unreported] }
  unreported.clear()
  parentPort?.postMessage(message)
}

/** Looks after all transfers in a moment: one timer for all of them, and one message. */
function tickSoon(): void {
  tick ??= setTimeout(() => {
    tick = undefined
    for (const transfer of transfers.values()) transfer.onTick()
    report()
  }, FLUSH_MS)
}

/** One request and its answer. */
class Transfer {
  readonly #request: Fetch
  readonly #pace = new Pace()
  #connection: Connection | undefined
  /** What has come of the head while it is not complete. */
  #headBytes: Buffer | undefined = Buffer.alloc(0)
  #head: AnswerHead | undefined
  /** Bytes of the body that came before it was said where they go. */
  #early: Buffer[] | undefined = []
  #earlyFailure: { readonly code: string; readonly message: string } | undefined
  /** Bytes of the body that have not come. */
  #left = 0
  #skip = 0
  #wanted = 0
  #sink: OpenSink | undefined
  #position = 0
  #piece: Buffer | undefined
  #filled = 0
  /** Whether a piece was written since the last tick. */
  #hasWritten = false
  #deadline: NodeJS.Timeout | undefined
  /** Since when the peer has been waited for. Undefined while the main thread is waited for. */
  #waitsSince: number | undefined
  #paceSince = 0
  /** Bytes of the body that have come since then. */
  #taken = 0

  constructor(request: Fetch) {
    this.#request = request
  }

  start(): void {
    transfers.set(this.#request.id, this)
    this.#ask(keptConnection(this.#request.origin) ?? new Connection(this.#request))
  }

  /** The connection is open, and the request was sent. */
  sent(): void {
    this.#waitsSince = clock()
    this.#watch()
  }

  /** Takes bytes of the connection, which are overwritten afterwards. Returns whether more of them are wanted now. */
  bytes(chunk: Buffer): boolean {
    this.#waitsSince = clock()
    const body = this.#headBytes === undefined ? chunk : this.#readHead(this.#headBytes, chunk)
    if (body === undefined || this.#connection === undefined) return true
    if (this.#early === undefined) {
      this.#take(body)
      return true
    }
    this.#early.push(Buffer.from(body))
    if (this.#isShort) {
      this.#replyShort()
      return true
    }
    this.#waitsSince = undefined
    return false
  }

  /** Says where the body goes. */
  write({ position, skipBytes, wantedBytes }: SinkTarget, sink: OpenSink): void {
    const early = this.#early ?? []
    this.#early = undefined
    this.#sink = sink
    this.#position = position
    this.#skip = skipBytes
    this.#wanted = wantedBytes
    this.#waitsSince = clock()
    this.#paceSince = this.#waitsSince
    for (const chunk of early) if (this.#connection !== undefined) this.#take(chunk)
    if (this.#earlyFailure !== undefined) this.failed(this.#earlyFailure.code, this.#earlyFailure.message)
    else this.#connection?.resume()
  }

  /** The connection has failed, or the peer has closed it. */
  failed(code: string, message: string): void {
    const connection = this.#connection
    if (connection === undefined) return
    // A kept connection may have been closed while it was idle (RFC 9112 §9.3.1). A timeout is no sign of that.
    if (connection.isReused && this.#headBytes?.length === 0 && !code.endsWith('_TIMEOUT')) {
      clearTimeout(this.#deadline)
      this.#ask(new Connection(this.#request))
      return
    }
    // What has come is still wanted.
    if (this.#head !== undefined && this.#early !== undefined && !this.#isShort) {
      this.#earlyFailure ??= { code, message }
      return
    }
    // The bytes that came before count as progress. Writing them may end the transfer.
    this.#writePiece()
    if (!transfers.has(this.#request.id)) return
    this.#over(false)
    reply({ kind: 'failed', id: this.#request.id, code, message })
  }

  sinkFailed(reason: unknown): void {
    this.#over(false)
    const { message = String(reason), code, errno, syscall } = reason as Partial<ErrorFields>
    reply({ kind: 'sink-failed', id: this.#request.id, error: { message, code, errno, syscall } })
  }

  /** Ends the transfer without a reply. */
  end(): void {
    this.#over(false)
  }

  get #isShort(): boolean {
    return this.#head !== undefined && !hasBytes(this.#head.status)
  }

  #ask(connection: Connection): void {
    this.#connection = connection
    connection.send(this, this.#request.head)
  }

  /** Returns the bytes behind the head, once it is complete. */
  #readHead(before: Buffer, chunk: Buffer): Buffer | undefined {
    const all = Buffer.concat([before, chunk])
    const end = all.indexOf('\r\n\r\n')
    if (end < 0 && all.length < MAX_HEAD_BYTES) {
      this.#headBytes = all
      return undefined
    }
    const head = end < 0 ? undefined : readAnswerHead(all.toString('latin1', 0, end))
    const { id } = this.#request
    if (head === undefined || (!hasBytes(head.status) && head.bodyBytes > MAX_SHORT_BYTES)) {
      this.#over(false)
      reply({ kind: 'unusual', id })
      return undefined
    }
    this.#headBytes = undefined
    this.#head = head
    this.#left = head.bodyBytes
    if (!this.#isShort) reply({ kind: 'head', id, status: head.status, headers: head.headers })
    return all.subarray(end + 4)
  }

  /** Replies with the answer, once all of it is there. */
  #replyShort(): void {
    const bytes = Buffer.concat(this.#early ?? [])
    if (this.#head === undefined || bytes.length < this.#left) return
    const { status, headers, isKept } = this.#head
    this.#over(isKept && bytes.length === this.#left)
    reply({ kind: 'short', id: this.#request.id, status, headers, bytes: bytes.subarray(0, this.#left) })
  }

  /** Takes bytes of the body. */
  #take(chunk: Buffer): void {
    const isOver = chunk.length > this.#left
    const body = chunk.subarray(0, this.#left)
    const from = Math.min(this.#skip, body.length)
    const to = Math.min(body.length, from + this.#wanted)
    this.#left -= body.length
    this.#taken += body.length
    this.#skip -= from
    this.#collect(body.subarray(from, to))
    this.#wanted -= to - from
    // A write may have ended the transfer.
    if (this.#connection === undefined || (this.#wanted > 0 && this.#left > 0)) return
    if (this.#wanted > 0) {
      // The Content-Length is less than the range that the answer announces.
      this.failed(SHORT_BODY, 'the body ended before its length')
      return
    }
    const isWhole = this.#left === 0 && !isOver && this.#earlyFailure === undefined
    this.#done(isWhole && this.#head?.isKept === true)
  }

  #collect(bytes: Buffer): void {
    let from = 0
    while (from < bytes.length && this.#connection !== undefined) {
      this.#piece ??= spare.pop() ?? Buffer.allocUnsafeSlow(PIECE_BYTES)
      const copied = bytes.copy(this.#piece, this.#filled, from)
      from += copied
      this.#filled += copied
      if (this.#filled === PIECE_BYTES) this.#writePiece()
    }
    if (this.#connection !== undefined) tickSoon()
  }

  /** Writes what waits for the rest of its piece, and looks at the pace of the peer. */
  onTick(): void {
    if (this.#taken === 0 && this.#filled === 0) return
    // A reader that has just got bytes can wait for the next tick.
    if (!this.#hasWritten) this.#writePiece()
    this.#hasWritten = false
    if (this.#connection === undefined) return
    if (this.#filled > 0) tickSoon()
    const { floor } = this.#request.limits
    const now = clock()
    this.#pace.record(now - this.#paceSince, this.#taken, floor)
    this.#paceSince = now
    this.#taken = 0
    if (this.#pace.creditMs(floor) <= 0) this.failed('PACE_TIMEOUT', 'the origin is too slow')
  }

  #writePiece(): void {
    if (this.#piece === undefined || this.#sink === undefined || this.#filled === 0) return
    const bytes = this.#piece.subarray(0, this.#filled)
    this.#filled = 0
    const startedAt = performance.now()
    let written: number
    try {
      written = this.#sink.write(bytes, this.#position)
    } catch (error) {
      this.sinkFailed(error)
      return
    } finally {
      writingMs += performance.now() - startedAt
    }
    this.#position += written
    this.#hasWritten = true
    const { id } = this.#request
    if (written > 0) unreported.set(id, (unreported.get(id) ?? 0) + written)
    if (written === bytes.length) return
    this.#over(false)
    reply({ kind: 'done', id })
  }

  #done(isKept: boolean): void {
    this.#writePiece()
    if (!transfers.has(this.#request.id)) return
    this.#over(isKept)
    reply({ kind: 'done', id: this.#request.id })
  }

  #over(isKept: boolean): void {
    transfers.delete(this.#request.id)
    clearTimeout(this.#deadline)
    if (this.#piece !== undefined && spare.length < MAX_SPARE) spare.push(this.#piece)
    this.#piece = undefined
    const connection = this.#connection
    this.#connection = undefined
    if (isKept) connection?.keep()
    else connection?.close()
  }

  /** One timer, set again for what is left, costs less than one for each read. */
  #watch(): void {
    const { silenceMs } = this.#request.limits
    const silentMs = this.#waitsSince === undefined ? 0 : clock() - this.#waitsSince
    if (silentMs < silenceMs) {
      this.#deadline = setTimeout(() => this.#watch(), silenceMs - silentMs)
      return
    }
    const code = this.#headBytes === undefined ? 'BODY_TIMEOUT' : 'HEADERS_TIMEOUT'
    this.failed(code, 'the origin is silent')
  }
}

function hasBytes(status: number): boolean {
  return status === 200 || status === 206
}

/** A TLS connection to one origin, which serves one transfer after the other. */
class Connection {
  isReused = false
  readonly #origin: string
  readonly #socket: TLSSocket
  #connecting: NodeJS.Timeout | undefined
  #transfer: Transfer | undefined
  #isOpen = false
  #idle: NodeJS.Timeout | undefined
  #failure: NodeJS.ErrnoException | undefined

  constructor({ origin, limits }: Pick<Fetch, 'origin' | 'limits'>) {
    this.#origin = origin
    const { hostname, port } = new URL(origin)
    const host = hostname.replace(/^\[|\]$/g, '')
    const session = sessions.get(origin)
    const options: ConnectionOptions & { readonly onread: OnReadOpts } = {
      host,
      port: Number(port || 443),
      ALPNProtocols: ['http/1.1'],
      ...(isIP(host) === 0 ? { servername: host } : {}),
      ...(session === undefined ? {} : { session }),
      onread: { buffer: shared, callback: (length) => this.#read(length) },
    }
    this.#socket = connect(options)
    this.#socket.setKeepAlive(true, 60_000)
    this.#watch(clock() + limits.connectMs)
    this.#socket.once('secureConnect', () => {
      this.#isOpen = true
      clearTimeout(this.#connecting)
      this.#transfer?.sent()
    })
    this.#socket.on('session', (ticket: Buffer) => {
      if (sessions.size >= MAX_SESSIONS) sessions.clear()
      sessions.set(origin, ticket)
    })
    this.#socket.on('error', (error) => {
      this.#failure ??= error
    })
    this.#socket.once('end', () => this.#socket.destroy())
    this.#socket.once('close', () => this.#closed())
  }

  /** Gives the connection up if it is not open at `deadline`. */
  #watch(deadline: number): void {
    this.#connecting = setTimeout(
      () => {
        if (clock() < deadline) {
          this.#watch(deadline)
          return
        }
        this.#failure = Object.assign(new Error('no connection in time'), { code: 'ETIMEDOUT' })
        this.#socket.destroy()
      },
      Math.max(1, deadline - clock()),
    )
  }

  send(transfer: Transfer, head: string): void {
    clearTimeout(this.#idle)
    this.#transfer = transfer
    // Before the connection is open, the socket keeps it.
    this.#socket.write(head, 'latin1')
    if (this.#isOpen) transfer.sent()
  }

  resume(): void {
    this.#socket.resume()
  }

  /** The transfer is over, and the connection waits for the next one. */
  keep(): void {
    this.#transfer = undefined
    this.isReused = true
    // The last bytes may have come although no more were wanted: records that arrive together are not held back.
    this.resume()
    idle.set(this.#origin, [...(idle.get(this.#origin) ?? []), this])
    this.#idle = setTimeout(() => this.close(), KEEP_IDLE_MS)
  }

  close(): void {
    this.#transfer = undefined
    this.#socket.destroy()
  }

  #read(length: number): boolean {
    if (this.#transfer !== undefined) return this.#transfer.bytes(shared.subarray(0, length))
    // Bytes that belong to no request.
    this.#socket.destroy()
    return true
  }

  #closed(): void {
    clearTimeout(this.#connecting)
    clearTimeout(this.#idle)
    forget(this.#origin, this)
    const transfer = this.#transfer
    this.#transfer = undefined
    const { code = 'ECONNRESET', message = 'the other side closed the connection' } = this.#failure ?? {}
    transfer?.failed(code, message)
  }
}

function keptConnection(origin: string): Connection | undefined {
  const connection = idle.get(origin)?.at(-1)
  if (connection !== undefined) forget(origin, connection)
  return connection
}

function forget(origin: string, connection: Connection): void {
  const others = (idle.get(origin) ?? []).filter((one) => one !== connection)
  if (others.length === 0) idle.delete(origin)
  else idle.set(origin, others)
}
