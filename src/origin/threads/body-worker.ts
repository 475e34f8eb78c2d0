// The thread that receives long bodies over TLS (body-threads.ts is the other end). It knows hosts, requests as they are
// sent, and bytes; no file, no redirect, no credential. Bytes are read into one buffer that all connections share, which
// costs half of what a parser of HTTP costs, and are collected into pieces, whose memory goes to the other thread with them.

import { isIP, type OnReadOpts } from 'node:net'
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls'
import { parentPort } from 'node:worker_threads'
import { Pace } from '../connections/pace.ts'
import { MAX_HEAD_BYTES, readAnswerHead } from './answer-head.ts'
import { type BodyReply, type BodyRequest, PIECE_BYTES, WINDOW_PIECES } from './body-threads.ts'

type Fetch = Extract<BodyRequest, { readonly kind: 'fetch' }>

/** Decrypted bytes come in records of at most 16 KiB. */
const READ_BYTES = 64 * 1024
/** A reader waits at most this long for bytes that have arrived. */
const FLUSH_MS = 5
/** Fewer bytes are copied out of their piece, so that a slow body does not take a piece for each message. */
const SMALL_BYTES = PIECE_BYTES / 8
/** Memory for pieces to come: more was given back than the bodies under way need. */
const MAX_SPARE = 8
/** As long as undici keeps an idle connection. */
const KEEP_MS = 4_000
const MAX_SESSIONS = 100

const shared = Buffer.allocUnsafeSlow(READ_BYTES)
const transfers = new Map<number, Transfer>()
const spare: ArrayBuffer[] = []
const idle = new Map<string, Connection[]>()
/** TLS sessions by origin, for the next connection there. */
const sessions = new Map<string, Buffer>()

parentPort?.on('message', (request: BodyRequest) => {
  if (request.kind === 'fetch') new Transfer(request).start()
  else if (request.kind === 'memory') keepMemory(request.buffer)
  else if (request.kind === 'taken') transfers.get(request.id)?.taken()
  else transfers.get(request.id)?.end()
})

function keepMemory(buffer: ArrayBuffer): void {
  if (spare.length < MAX_SPARE) spare.push(buffer)
}

function emptyPiece(): Buffer {
  const buffer = spare.pop()
  return buffer === undefined ? Buffer.allocUnsafeSlow(PIECE_BYTES) : Buffer.from(buffer)
}

function reply(message: BodyReply): void {
  parentPort?.postMessage(message, message.kind === 'piece' ? [message.bytes.buffer] : [])
}

/** One request and its answer. */
class Transfer {
  readonly #request: Fetch
  readonly #pace = new Pace()
  #connection: Connection | undefined
  #head: Buffer | undefined = Buffer.alloc(0)
  #isKept = false
  #left = 0
  #piece: Buffer | undefined
  #filled = 0
  #underWay = 0
  #flush: NodeJS.Timeout | undefined
  #deadline: NodeJS.Timeout | undefined
  /** Since when the peer has been waited for. Undefined while the reader is waited for. */
  #waitsSince: number | undefined
  #paceSince = 0

  constructor(request: Fetch) {
    this.#request = request
  }

  start(): void {
    transfers.set(this.#request.id, this)
    this.#ask(keptConnection(this.#request.origin) ?? new Connection(this.#request))
  }

  /** The connection is open, and the request was sent. */
  sent(): void {
    this.#waitsSince = performance.now()
    this.#watch()
  }

  /** Takes bytes of the connection, which are overwritten afterwards. Returns whether more of them are wanted now. */
  bytes(chunk: Buffer): boolean {
    this.#waitsSince = performance.now()
    const body = this.#head === undefined ? chunk : this.#readHead(this.#head, chunk)
    if (body === undefined || this.#connection === undefined) return true
    this.#collect(body.subarray(0, this.#left))
    const isOver = body.length > this.#left
    this.#left -= Math.min(body.length, this.#left)
    if (this.#left === 0) {
      this.#done(this.#isKept && !isOver)
      return true
    }
    if (this.#underWay < WINDOW_PIECES) return true
    this.#waitsSince = undefined
    return false
  }

  /** The reader has taken a piece. */
  taken(): void {
    this.#underWay -= 1
    if (this.#waitsSince !== undefined || this.#connection === undefined) return
    this.#waitsSince = performance.now()
    this.#paceSince = this.#waitsSince
    this.#connection.resume()
  }

  /** The connection has failed, or the peer has closed it. */
  failed(code: string, message: string): void {
    const connection = this.#connection
    // A kept connection may have been closed while it was idle (RFC 9112 §9.3.1). A timeout is no sign of that.
    if (connection?.isReused === true && this.#head?.length === 0 && !code.endsWith('_TIMEOUT')) {
      clearTimeout(this.#deadline)
      this.#ask(new Connection(this.#request))
      return
    }
    // The bytes that came before count as progress.
    this.#post()
    this.#over(false)
    reply({ kind: 'failed', id: this.#request.id, code, message })
  }

  /** Ends the transfer without a reply. */
  end(): void {
    this.#over(false)
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
      this.#head = all
      return undefined
    }
    const head = end < 0 ? undefined : readAnswerHead(all.toString('latin1', 0, end))
    const { id } = this.#request
    if (head === undefined) {
      this.#over(false)
      reply({ kind: 'unusual', id })
      return undefined
    }
    this.#head = undefined
    this.#left = head.bodyBytes
    this.#isKept = head.isKept
    this.#paceSince = performance.now()
    reply({ kind: 'head', id, status: head.status, headers: head.headers })
    return all.subarray(end + 4)
  }

  #collect(bytes: Buffer): void {
    let from = 0
    // A post may have ended the transfer.
    while (from < bytes.length && this.#connection !== undefined) {
      this.#piece ??= emptyPiece()
      const copied = bytes.copy(this.#piece, this.#filled, from)
      from += copied
      this.#filled += copied
      if (this.#filled === PIECE_BYTES) this.#postInTime()
    }
    if (this.#filled > 0 && this.#connection !== undefined)
      this.#flush ??= setTimeout(() => this.#postInTime(), FLUSH_MS)
  }

  #postInTime(): void {
    this.#post()
    if (this.#pace.creditMs(this.#request.limits.floor) <= 0)
      this.failed('PACE_TIMEOUT', 'the origin is too slow')
  }

  #post(): void {
    clearTimeout(this.#flush)
    this.#flush = undefined
    if (this.#piece === undefined || this.#filled === 0) return
    const isSmall = this.#filled < SMALL_BYTES
    const bytes = this.#piece.subarray(0, this.#filled)
    this.#underWay += 1
    const now = performance.now()
    const { limits, id } = this.#request
    this.#pace.record(now - this.#paceSince, this.#filled, limits.floor)
    this.#paceSince = now
    this.#filled = 0
    if (!isSmall) this.#piece = undefined
    reply({ kind: 'piece', id, bytes: (isSmall ? new Uint8Array(bytes) : bytes) as Uint8Array<ArrayBuffer> })
  }

  #done(isKept: boolean): void {
    this.#post()
    if (!transfers.has(this.#request.id)) return
    this.#over(isKept)
    reply({ kind: 'done', id: this.#request.id })
  }

  #over(isKept: boolean): void {
    transfers.delete(this.#request.id)
    clearTimeout(this.#flush)
    clearTimeout(this.#deadline)
    const connection = this.#connection
    this.#connection = undefined
    if (isKept) connection?.keep()
    else connection?.close()
  }

  /** One timer, set again for what is left, costs less than one for each read. */
  #watch(): void {
    const { silenceMs } = this.#request.limits
    const silentMs = this.#waitsSince === undefined ? 0 : performance.now() - this.#waitsSince
    if (silentMs < silenceMs) {
      this.#deadline = setTimeout(() => this.#watch(), silenceMs - silentMs)
      return
    }
    const code = this.#head === undefined ? 'BODY_TIMEOUT' : 'HEADERS_TIMEOUT'
    this.failed(code, 'the origin is silent')
  }
}

/** A TLS connection to one origin, which serves one transfer after the other. */
class Connection {
  isReused = false
  readonly #origin: string
  readonly #socket: TLSSocket
  readonly #connecting: NodeJS.Timeout
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
    this.#connecting = setTimeout(() => {
      this.#failure = Object.assign(new Error('no connection in time'), { code: 'ETIMEDOUT' })
      this.#socket.destroy()
    }, limits.connectMs)
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
    this.#idle = setTimeout(() => this.close(), KEEP_MS)
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
