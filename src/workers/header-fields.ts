// The header fields in which the processes of one mirror speak to each other, on their private socket. A worker names the
// client's connection. The main process names the stored file that the worker may send, and the answer that it may repeat.
// The fields count nowhere else: a worker removes them from what its clients send.

import type { IncomingMessage } from 'node:http'
import type { ByteRange } from '../http/range.ts'
import { setRemoteAddress } from '../server/node-http.ts'
import { keyedDigest } from '../telemetry/run-key.ts'

/** Every field whose name begins so is the mirror's own. */
export const OWN_FIELDS = 'x-hubmirror-'
export const CLIENT_FIELD = `${OWN_FIELDS}peer`
export const HANDOFF_FIELD = `${OWN_FIELDS}offer`
export const CACHE_NOTE_FIELD = `${OWN_FIELDS}cache-note`

/** The client's connection that a request came in by. */
export interface ClientConnection {
  readonly address: string
  /** Requests in flight on it, this one included. */
  readonly inFlight: number
  /** The version of HTTP that the client spoke, such as `1.0`. */
  readonly version: string
}

/** The value of CLIENT_FIELD. It carries a mark that only processes of this mirror can make, so a client cannot forge it. */
export function formatClient({ address, inFlight, version }: ClientConnection): string {
  return `${processMark()} ${inFlight} ${version} ${address}`
}

// A worker has a key of its own until the main process sends that of the mirror, which happens before the first request.
let mark: string | undefined
const processMark = (): string => (mark ??= keyedDigest('peer', '').toString('base64url'))

const clients = new WeakMap<IncomingMessage, ClientConnection>()

/**
 * Makes the request look as if its client had connected to this process: address and HTTP version are those that the
 * worker names. A worker sends one request at a time on each connection, so the connection has one address at a time.
 * Returns false when the field is missing or has another mark; then the request must not be answered.
 */
export function adoptClient(request: IncomingMessage): boolean {
  const match = /^(\S+) (\d+) (\d\.\d) (\S+)$/.exec(String(request.headers[CLIENT_FIELD] ?? ''))
  if (match === null || match[1] !== processMark()) return false
  const [, , inFlight, version = '', address = ''] = match
  clients.set(request, { address, inFlight: Number(inFlight), version })
  // Checks of the request depend on the version. How the answer to the worker is framed was decided before.
  request.httpVersion = version
  setRemoteAddress(request.socket, address)
  return true
}

/** How many requests the client's connection has in flight; undefined when no worker has forwarded the request. */
export function clientInFlight(request: IncomingMessage): number | undefined {
  return clients.get(request)?.inFlight
}

/** A finished blob, and the part of it that is the body of an answer. */
export interface Offer {
  /** The number under which the worker reports what it has sent. */
  readonly id: number
  readonly key: string
  readonly sizeBytes: number
  readonly range: ByteRange
}

/** The value of HANDOFF_FIELD. */
export function formatOffer({ id, key, sizeBytes, range }: Offer): string {
  return `${id} ${key} ${sizeBytes} ${range.start} ${range.end}`
}

/** Reads the value of HANDOFF_FIELD. Returns undefined when it is not well formed. */
export function parseOffer(field: string): Offer | undefined {
  const match = /^(\d+) (\S+) (\d+) (\d+) (\d+)$/.exec(field)
  if (match === null) return undefined
  const [, id, key = '', sizeBytes, start, end] = match
  return {
    id: Number(id),
    key,
    sizeBytes: Number(sizeBytes),
    range: { start: Number(start), end: Number(end) },
  }
}

/** For how long the worker that forwards an answer may repeat it. */
export interface CacheNote {
  readonly leftMs: number
  /** How long ago the Hub was asked where the branch is; undefined when the request named a commit. */
  readonly ageMs: number | undefined
  readonly commit: string
}

/**
 * The value of CACHE_NOTE_FIELD. `at` is `sharedMs()`, read before `leftMs` was computed. So the reader can subtract the
 * time on the way, and the time for which this process stood still.
 */
export function formatCacheNote({ leftMs, ageMs, commit }: CacheNote, at: number): string {
  return `${at} ${leftMs} ${ageMs ?? '-'} ${commit}`
}

/** Reads the value of CACHE_NOTE_FIELD, less the time on the way. Returns undefined when it is not well formed. */
export function parseCacheNote(field: string): CacheNote | undefined {
  const match = /^([\d.]+) ([\d.]+) (-|[\d.]+) ([0-9a-f]{40})$/.exec(field)
  if (match === null) return undefined
  const [, at, left, age = '', commit = ''] = match
  const wayMs = Math.max(0, sharedMs() - Number(at))
  return { leftMs: Number(left) - wayMs, ageMs: age === '-' ? undefined : Number(age) + wayMs, commit }
}

/** Milliseconds of a monotonic clock that is the same in all processes of a machine. */
export function sharedMs(): number {
  return Number(process.hrtime.bigint()) / 1e6
}
