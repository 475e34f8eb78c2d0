// What the processes of one mirror say to each other in header fields, on their private socket: a worker, whose the
// connection is; the main process, which stored file the worker may send by itself, and which answer it may repeat.
// Nowhere else do these fields count: a worker takes them out of what its clients send.

import type { IncomingMessage } from 'node:http'
import type { ByteRange } from '../http/range.ts'
import { setRemoteAddress } from '../server/node-http.ts'
import { keyedDigest } from '../telemetry/run-key.ts'

/** Every field whose name begins so is ours. */
export const OWN_FIELDS = 'x-hubmirror-'
export const PEER_FIELD = `${OWN_FIELDS}peer`
export const OFFER_FIELD = `${OWN_FIELDS}offer`
export const READY_FIELD = `${OWN_FIELDS}ready`

/** The connection that a request came in by. */
export interface Peer {
  readonly address: string
  /** Requests in flight on it, this one included. */
  readonly inFlight: number
  /** The version of HTTP that the client has sent, such as `1.0`. */
  readonly version: string
}

/** With a mark that only processes of this mirror can make: what a client sends is never taken for it. */
export function formatPeer({ address, inFlight, version }: Peer): string {
  return `${peerMark()} ${inFlight} ${version} ${address}`
}

// The key is the process' own until it is given that of its mirror, before the first request.
let mark: string | undefined
const peerMark = (): string => (mark ??= keyedDigest('peer', '').toString('base64url'))

const peers = new WeakMap<IncomingMessage, Peer>()

/**
 * Takes what a worker says of its client for what is true of the socket that it uses: for one request after the other,
 * so that there is one address at a time. False where it says nothing: then nothing is known of the request.
 */
export function adoptPeer(request: IncomingMessage): boolean {
  const match = /^(\S+) (\d+) (\d\.\d) (\S+)$/.exec(String(request.headers[PEER_FIELD] ?? ''))
  if (match === null || match[1] !== peerMark()) return false
  const [, , inFlight, version = '', address = ''] = match
  peers.set(request, { address, inFlight: Number(inFlight), version })
  // What may be said in a request depends on it. How the answer is framed for the worker was settled before.
  request.httpVersion = version
  setRemoteAddress(request.socket, address)
  return true
}

/** How many requests the client's connection has in flight; undefined where no worker has handed the request on. */
export function peerInFlight(request: IncomingMessage): number | undefined {
  return peers.get(request)?.inFlight
}

/** A finished blob, and the part of it that is the body of an answer. */
export interface Offer {
  /** By which the worker says what became of it. */
  readonly id: number
  readonly key: string
  readonly sizeBytes: number
  readonly range: ByteRange
}

export function formatOffer({ id, key, sizeBytes, range }: Offer): string {
  return `${id} ${key} ${sizeBytes} ${range.start} ${range.end}`
}

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

/** Why an answer may be given again by the worker that hands it on, and for how long. */
export interface ReadyNote {
  readonly leftMs: number
  /** How long ago the Hub was asked where the branch is; undefined where it was not. */
  readonly ageMs: number | undefined
  readonly commit: string
}

/**
 * With the moment `at` of the clock that all processes of a machine share, read before `leftMs` was: the time on the way
 * counts, and so does all that this process was held up.
 */
export function formatReady({ leftMs, ageMs, commit }: ReadyNote, at: number): string {
  return `${at} ${leftMs} ${ageMs ?? '-'} ${commit}`
}

export function parseReady(field: string): ReadyNote | undefined {
  const match = /^([\d.]+) ([\d.]+) (-|[\d.]+) ([0-9a-f]{40})$/.exec(field)
  if (match === null) return undefined
  const [, at, left, age = '', commit = ''] = match
  const wayMs = Math.max(0, sharedMs() - Number(at))
  return { leftMs: Number(left) - wayMs, ageMs: age === '-' ? undefined : Number(age) + wayMs, commit }
}

/** Milliseconds that never step back, the same in all processes of a machine. */
export function sharedMs(): number {
  return Number(process.hrtime.bigint()) / 1e6
}
