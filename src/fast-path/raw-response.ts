// A response as bytes: what Node's HTTP writes for the same status and fields on a persistent connection (RFC 9112 §4,
// §9.3), assembled from parts that are the same in every response.

import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import { isHeaderSafe } from '../http/headers.ts'
import { KEEP_ALIVE_MS } from '../server/limits.ts'

const STAYS = `Connection: keep-alive\r\nKeep-Alive: timeout=${Math.floor(KEEP_ALIVE_MS / 1000)}\r\n`
/**
 * Larger responses are written in pieces: copying them together would take longer than the kernel needs for the pieces.
 */
const SPACE_BYTES = 32 * 1024

/**
 * Turns alternating names and values into lines, each with its CRLF. Returns undefined if one must not stand in a head.
 */
export function fieldLines(fields: readonly string[]): string | undefined {
  let lines = ''
  for (let index = 0; index < fields.length; index += 2) {
    const [name = '', value = ''] = [fields[index], fields[index + 1]]
    if (!/^[\w-]+$/.test(name) || !isHeaderSafe(value)) return undefined
    lines += `${name}: ${value}\r\n`
  }
  return lines
}

/**
 * The start of a head: the status line, `lines` that differ from response to response, the date, and the connection
 * fields.
 */
export function headStart(status: number, lines: string): string {
  return `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n${lines}Date: ${date()}\r\n${STAYS}`
}

/**
 * The end of a head: the lines that are the same each time. Allocated outside Node's buffer pool: it is long-lived and
 * would otherwise keep a whole pool slab alive.
 */
export function headEnd(lines: string): Buffer {
  const end = Buffer.allocUnsafeSlow(lines.length + 2)
  end.write(`${lines}\r\n`, 'latin1')
  return end
}

let second = 0
let secondText = ''

/** RFC 9110 §6.6.1. */
function date(): string {
  const now = Math.floor(Date.now() / 1000)
  if (now !== second) {
    second = now
    secondText = new Date(now * 1000).toUTCString()
  }
  return secondText
}

// What the kernel takes at once has been copied when `write` returns, so one buffer serves all connections.
let space = Buffer.allocUnsafeSlow(SPACE_BYTES)

/** Writes a head, given in two parts, and its body, if it has one, with one system call where possible. */
export function writeAnswer(socket: Socket, start: string, end: Buffer, body: Buffer | undefined): void {
  const headBytes = start.length + end.length
  const sizeBytes = headBytes + (body?.length ?? 0)
  if (sizeBytes > SPACE_BYTES) {
    socket.cork()
    socket.write(start, 'latin1')
    socket.write(end)
    if (body !== undefined) socket.write(body)
    socket.uncork()
    return
  }
  space.write(start, 0, 'latin1')
  end.copy(space, start.length)
  body?.copy(space, headBytes)
  socket.write(space.subarray(0, sizeBytes))
  // The kernel has not taken all of it: the socket still refers to this buffer.
  if (socket.writableLength > 0) space = Buffer.allocUnsafeSlow(SPACE_BYTES)
}
