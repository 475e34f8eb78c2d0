// One request that has ended → its log line, its counts, and its line of the audit log.

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

/** Tells everybody who keeps accounts. Once per request, when its response or its socket has closed. */
export function reportRequest(
  answered: {
    readonly method: string
    /** The client's; undefined when its socket had gone before anybody looked. */
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
  // It should have one; the line is written all the same.
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

/** The status that a client was told: 499, as nginx has it, where it left before there was an answer. */
export function statusSent(response: Pick<ServerResponse, 'headersSent' | 'statusCode'>): number {
  return response.headersSent ? response.statusCode : 499
}

type Decided = AccessNote & { readonly decision: AuditDecision }

function isDecided(access: AccessNote): access is Decided {
  return access.decision !== undefined
}

/** What stands in the end: a request may fail, or lose its client, before anybody has decided. */
function concluded({ access, route, error }: RequestRecord, status: number): Decided | undefined {
  if (isDecided(access)) return access
  // Nobody's right was asked about: the mirror's own routes, and what is no request of the Hub's protocol.
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

/** A token that is turned away makes no caller known. */
function isByMirrorToken({ mirrorToken, reason }: AccessNote): boolean {
  return mirrorToken !== undefined || reason === 'mirror-token'
}

/** The mirror token that was turned away, where it is one of ours. */
function nameOf({ detail }: MirrorError): AccessNote {
  const { mirrorToken } = detail
  return typeof mirrorToken === 'string' ? { mirrorToken } : {}
}
