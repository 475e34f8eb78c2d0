// A client that compares what it gets with the right bytes: whole answers must be right to the last byte, and broken
// ones as far as they go. Knows neither store nor Hub.

import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'vitest'
import { open } from './ask.ts'

export interface Wish {
  /** The Range header, where there is one. */
  readonly range?: string
  /** Disconnects after this many bytes. */
  readonly leaveAfterBytes?: number
  /** Pauses this long after every chunk. */
  readonly restMs?: number
}

/**
 * `whole`: every byte arrived and is right; `broken`: the connection showed it; `left`: the client disconnected as
 * planned; `status`: the answer was an error status.
 */
export type Taken = 'whole' | 'broken' | 'left' | number

/** Bytes `start` up to `end` of a file, or undefined if no byte satisfies the header (RFC 9110 §14.1.2). */
export function wished(
  range: string | undefined,
  sizeBytes: number,
): [start: number, end: number] | undefined {
  if (range === undefined) return [0, sizeBytes]
  const [first = '', last = ''] = range.replace('bytes=', '').split('-')
  if (first === '') {
    const length = Math.min(Number(last), sizeBytes)
    return length === 0 ? undefined : [sizeBytes - length, sizeBytes]
  }
  const start = Number(first)
  if (start >= sizeBytes) return undefined
  return [start, last === '' ? sizeBytes : Math.min(Number(last) + 1, sizeBytes)]
}

/** Asks for a file and checks every byte of the answer. Resolves `broken`, too, when no server answers. */
export async function take(base: string, target: string, right: Buffer, wish: Wish = {}): Promise<Taken> {
  const { range } = wish
  const answer = await open(base, target, range === undefined ? {} : { headers: { range } }).catch(
    () => undefined,
  )
  if (answer === undefined) return 'broken'
  const due = wished(range, right.length)
  const status = answer.statusCode ?? 0
  const parts: Buffer[] = []
  let length = 0
  let left = false
  try {
    for await (const part of answer) {
      parts.push(part as Buffer)
      length += (part as Buffer).length
      left = wish.leaveAfterBytes !== undefined && length >= wish.leaveAfterBytes
      if (left) break
      if (wish.restMs !== undefined) await delay(wish.restMs)
    }
  } catch {
    // `complete` shows it.
  }
  const got = Buffer.concat(parts)
  if (status >= 400) {
    if (due === undefined) {
      expect([status, answer.headers['content-range']]).toEqual([416, `bytes */${right.length}`])
    } else expect([500, 502, 503, 504]).toContain(status)
    return status
  }
  if (due === undefined) throw new Error(`${range} of ${right.length} bytes was answered with ${status}`)
  const [start, end] = due
  expect(status).toBe(range === undefined ? 200 : 206)
  expect(answer.headers['content-length']).toBe(String(end - start))
  if (range !== undefined)
    expect(answer.headers['content-range']).toBe(`bytes ${start}-${end - 1}/${right.length}`)
  const expected = right.subarray(start, end)
  expect(got.equals(expected.subarray(0, got.length)), `${target} ${range}: wrong bytes`).toBe(true)
  if (left) return 'left'
  if (!answer.complete) return 'broken'
  expect(got.length, `${target} ${range}: a short body that looks whole`).toBe(expected.length)
  return 'whole'
}
