// One keep-alive connection that sends requests and reads whole answers. It is a raw socket with one buffer, as cheap as a
// client can be, so that the measurement shows the server. It understands answers with a Content-Length only.

import net from 'node:net'
import { type Checksum, checksum, type DigestKind } from './checksum.ts'
import type { Target } from './job.ts'

/** The times of one answer. Throws when the answer was wrong. */
export interface Arrived {
  readonly firstByteMs: number
  readonly lastByteMs: number
  readonly bytes: number
}

const HEAD_END = '\r\n\r\n'

export class Connection {
  readonly #method: 'GET' | 'HEAD'
  readonly #digest: DigestKind
  readonly #bufferBytes: number
  #socket: net.Socket | undefined
  #pending: Pending | undefined

  constructor(options: {
    readonly method: 'GET' | 'HEAD'
    readonly digest: DigestKind
    readonly bufferBytes: number
  }) {
    this.#method = options.method
    this.#digest = options.digest
    this.#bufferBytes = options.bufferBytes
  }

  /** Sends one request and reads its whole answer. Rejects when the answer differs from `target`, or breaks off. */
  ask(target: Target): Promise<Arrived> {
    return new Promise((resolve, reject) => {
      this.#pending = new Pending(target, this.#method, checksum(this.#digest), { resolve, reject })
      this.#socket ??= this.#connect(target)
      this.#socket.write(this.#pending.question)
    })
  }

  close(): void {
    this.#pending = undefined
    this.#socket?.destroy()
    this.#socket = undefined
  }

  #connect(target: Target): net.Socket {
    const { hostname, port } = new URL(target.url)
    const callback = (size: number, buffer: Uint8Array): boolean => {
      this.#take(Buffer.from(buffer.buffer, buffer.byteOffset, size))
      return true
    }
    const socket = net.connect({
      host: hostname,
      port: Number(port),
      noDelay: true,
      onread: { buffer: Buffer.allocUnsafe(this.#bufferBytes), callback },
    })
    // The socket was abandoned: ignore its events.
    const end = (reason: string): void => {
      if (this.#socket === socket) this.#end(reason)
    }
    socket.on('error', (error) => end(error.message))
    socket.once('close', () => end('the connection ended'))
    return socket
  }

  #take(chunk: Buffer): void {
    const pending = this.#pending
    if (pending === undefined) return this.#end('bytes that were not requested')
    const fault = pending.take(chunk)
    if (fault !== undefined) return this.#end(fault)
    if (!pending.isWhole) return
    this.#pending = undefined
    pending.settle()
  }

  #end(reason: string): void {
    const pending = this.#pending
    this.close()
    pending?.fail(reason)
  }
}

/** An answer that is arriving. */
class Pending {
  readonly question: string
  isWhole = false
  readonly #target: Target
  readonly #isHead: boolean
  readonly #checksum: Checksum
  readonly #then: { resolve(arrived: Arrived): void; reject(error: Error): void }
  readonly #askedAt = performance.now()
  #firstByteMs = 0
  #head = ''
  #bodyBytes = -1

  constructor(
    target: Target,
    method: 'GET' | 'HEAD',
    sum: Checksum,
    then: { resolve(arrived: Arrived): void; reject(error: Error): void },
  ) {
    const { host, pathname, search } = new URL(target.url)
    const range = target.range === undefined ? '' : `Range: bytes=${target.range.join('-')}\r\n`
    this.question = `${method} ${pathname}${search} HTTP/1.1\r\nHost: ${host}\r\n${range}\r\n`
    this.#target = target
    this.#isHead = method === 'HEAD'
    this.#checksum = sum
    this.#then = then
  }

  /** Takes the bytes that came. Returns what is wrong with them, if anything is. */
  take(chunk: Buffer): string | undefined {
    let body = chunk
    if (this.#bodyBytes < 0) {
      this.#head += chunk.toString('latin1')
      const end = this.#head.indexOf(HEAD_END)
      if (end < 0) return undefined
      const fault = this.#judgeHead(this.#head.slice(0, end))
      if (fault !== undefined) return fault
      body = chunk.subarray(chunk.length - (this.#head.length - end - HEAD_END.length))
      this.#firstByteMs = performance.now() - this.#askedAt
      this.#bodyBytes = 0
    }
    const { sizeBytes, digest } = this.#target.right
    this.#bodyBytes += body.length
    if (!this.#isHead) this.#checksum.update(body)
    const expected = this.#isHead ? 0 : sizeBytes
    if (this.#bodyBytes > expected) return 'more bytes than announced'
    this.isWhole = this.#bodyBytes === expected
    if (!this.isWhole || this.#isHead || digest === undefined) return undefined
    const got = this.#checksum.hex()
    return got === digest ? undefined : `wrong bytes: digest ${got} instead of ${digest}`
  }

  settle(): void {
    const lastByteMs = performance.now() - this.#askedAt
    this.#then.resolve({ firstByteMs: this.#firstByteMs, lastByteMs, bytes: this.#bodyBytes })
  }

  fail(reason: string): void {
    const at = this.#bodyBytes < 0 ? 'before the answer' : `after ${this.#bodyBytes} bytes`
    this.#then.reject(new Error(`${reason} (${at})`))
  }

  #judgeHead(head: string): string | undefined {
    const { status, sizeBytes } = this.#target.right
    const line = head.split('\r\n', 1)[0] ?? ''
    if (!line.startsWith(`HTTP/1.1 ${status} `)) return line.slice('HTTP/1.1 '.length)
    const length = /^content-length: *(\d+)/im.exec(head)?.[1]
    if (length === undefined) return 'an answer without a length'
    return Number(length) === sizeBytes ? undefined : `${length} bytes announced instead of ${sizeBytes}`
  }
}
