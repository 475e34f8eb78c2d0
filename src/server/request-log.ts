// Reports a request that has ended: its log line, its metrics, and its line of the audit log.

import type { ServerResponse } from 'node:http'
import type { Logger } from 'pino'
import { MirrorError } from '../errors.ts'
import { type AccessNote, type AuditDecision, type Auditor, accessResultOf } from '../telemetry/audit.ts'
import { logRequest } from '../telemetry/log.ts'
import type { Observer } from '../telemetry/observer.ts'
import type { RequestRecord } from './request-record.ts'

export interface RequestReporters {
  readonly logger: Logger
  readonly observer: Pick<Observer, 'requestDone' | 'accessDecided'>
  readonly auditor: Pick<Auditor, 'access' | 'isOn'>
}

/** Reports the request to log, metrics and audit log. Call it once, when the response or its socket has closed. */
export function reportRequest(
  answered: {
    readonly method: string
    /** The client's address; undefined if its socket had closed before it was read. */
    readonly address: string | undefined
    readonly status: number
  },
  record: RequestRecord,
  { logger, observer, auditor }: RequestReporters,
): void {
  const firstByteMs = record.firstByteAt === undefined ? undefined : record.firstByteAt - record.startedAt
  const totalMs = performance.now() - record.startedAt
  const { method, status } = answered
  const { id, route, outcome, bytes, about, token } = record
  // The line is written even without an address.
  const address = answered.address ?? ''
  observer.requestDone({
    route,
    outcome,
    status,
    bytes,
    handedOverBytes: record.handedOver,
    firstByteSeconds: firstByteMs === undefined ? undefined : firstByteMs / 1000,
    totalSeconds: totalMs / 1000,
  })
  logRequest(logger, {
    requestId: id,
    method,
    route,
    about,
    status,
    outcome,
    rule: record.access.rule,
    bytes,
    handedOver: record.handedOver,
    originTrips: record.originRequests.count,
    firstByteMs,
    totalMs,
    client: address,
    token,
    mirrorToken: record.access.mirrorToken,
    error: record.error,
  })
  const note = concluded(record, status)
  if (note === undefined) return
  observer.accessDecided(accessResultOf(note))
  if (!auditor.isOn) return
  auditor.access({
    requestId: id,
    method,
    route,
    caller: { kind: isByMirrorToken(note) ? 'mirror-token' : record.callerKind, address, token },
    ...about,
    note,
    status,
  })
}

/** The status that the client received; 499, as in nginx, if it disconnected before the head. */
export function statusSent(response: Pick<ServerResponse, 'headersSent' | 'statusCode'>): number {
  return response.headersSent ? response.statusCode : 499
}

type Decided = AccessNote & { readonly decision: AuditDecision }

function isDecided(access: AccessNote): access is Decided {
  return access.decision !== undefined
}

/** The final access note. A request may fail, or lose its client, before a decision was made. */
function concluded({ access, route, error }: RequestRecord, status: number): Decided | undefined {
  if (isDecided(access)) return access
  // No access decision is due: routes of the mirror itself, and requests outside the Hub's protocol.
  if (route === 'ops' || route === 'bad') return undefined
  const note = (decision: AuditDecision, more: AccessNote) => ({ ...access, ...more, decision })
  if (error instanceof MirrorError) {
    if (error.code === 'client_limited') return note('limited', { reason: 'quota', code: error.code })
    if (error.code === 'writes_denied') return note('denied', { reason: 'read-only' })
    if (error.code === 'mirror_token_read_only')
      return note('denied', { reason: 'read-only', ...nameOf(error) })
    if (error.code.startsWith('mirror_token_'))
      return note('denied', { reason: 'mirror-token', ...nameOf(error) })
    return note('unknown', { reason: 'error', code: error.code })
  }
  return status === 499 ? note('unknown', { reason: 'left' }) : note('unknown', { reason: 'error' })
}

/** A refused token does not identify a caller. */
function isByMirrorToken({ mirrorToken, reason }: AccessNote): boolean {
  return mirrorToken !== undefined || reason === 'mirror-token'
}

/** The name of the refused mirror token, if this mirror has issued it. */
function nameOf({ detail }: MirrorError): AccessNote {
  const { mirrorToken } = detail
  return typeof mirrorToken === 'string' ? { mirrorToken } : {}
}
