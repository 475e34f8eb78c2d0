// An answer as it stands on the connection: what Node's HTTP writes for the same status and fields on a connection that
// stays (RFC 9112 §4, §9.3), put together from what does not change between two answers.

import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import { isHeaderSafe } from '../http/headers.ts'
import { KEEP_ALIVE_MS } from '../server/limits.ts'

const STAYS = `Connection: keep-alive\r\nKeep-Alive: timeout=${Math.floor(KEEP_ALIVE_MS / 1000)}\r\n`
/** To copy more than fits in here takes longer than to tell the kernel of each piece. */
const SPACE_BYTES = 32 * 1024

/** Names and values in turn → lines, each with its CRLF; undefined where one of them may not stand in a head. */
export function fieldLines(fields: readonly string[]): string | undefined {
  let lines = ''
  for (let index = 0; index < fields.length; index += 2) {
    const [name = '', value = ''] = [fields[index], fields[index + 1]]
    if (!/^[\w-]+$/.test(name) || !isHeaderSafe(value)) return undefined
    lines += `${name}: ${value}\r\n`
  }
  return lines
}

/** How a head begins: the status, `lines` that differ from answer to answer, and what is said of the connection. */
export function headStart(status: number, lines: string): string {
  return `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n${lines}Date: ${date()}\r\n${STAYS}`
}

/**
 * How it ends: with the lines that are the same each time. In memory of its own: it is kept for long, and what shares its
 * piece would be kept with it.
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

// Whatever the kernel takes at once is copied by then, so one place serves all connections.
let space = Buffer.allocUnsafeSlow(SPACE_BYTES)

/** Writes a head in its two parts and its body, if it has one, by one call. */
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
  // Some of it waits where it is for the kernel.
  if (socket.writableLength > 0) space = Buffer.allocUnsafeSlow(SPACE_BYTES)
}
