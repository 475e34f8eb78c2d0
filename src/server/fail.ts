// Turns an error into a response. The table in errors.ts says what a client receives; nothing else of an error leaves the
// process.

import type { ServerResponse } from 'node:http'
import { ERRORS, type ErrorCode, MirrorError } from '../errors.ts'
import { headerText, headFields } from '../http/headers.ts'
import { EXPOSED_HEADERS } from '../hub/refusal.ts'
import { noteRefusal } from '../mirror/access/note.ts'
import { refusalAnswer } from '../mirror/access/refused.ts'
import { RefusedByHub } from '../origin/failures/refused.ts'
import { isRepoMoved } from '../origin/repo-moved.ts'
import type { AuditReason } from '../telemetry/audit.ts'
import { breakConnection, outcomeHeaders } from './body/send.ts'
import type { RequestRecord } from './request-record.ts'

const MAX_MESSAGE_CHARS = 800
const RETRY_AFTER_SECONDS = '5'
/** Errors whose message the clients would replace with their own. */
const WARNED: ReadonlySet<ErrorCode> = new Set(['offline_and_absent', 'offline_and_unknown'])
/**
 * Refusals that the operator wants; they are not failures. `hf` 2.x replaces the message of a GatedRepo with its own
 * ("requires approval"), but prints the warning of any response, so these carry their message in X-HF-Warning as well.
 */
const REFUSALS: ReadonlySet<ErrorCode> = new Set([
  'policy_denied',
  'client_not_allowed',
  'client_limited',
  'writes_denied',
  'mirror_token_refused',
  'mirror_token_scope',
  'mirror_token_read_only',
  'mirror_token_misplaced',
])
/** Refusals that do not concern the form of the request, and their reason in the audit log. */
const DENIED_BY: ReadonlyMap<ErrorCode, AuditReason> = new Map([
  ['policy_denied', 'policy'],
  ['client_not_allowed', 'network'],
])

/** Turns what was thrown into an error of the mirror. An unknown error becomes `bug`. */
export function asMirrorError(error: unknown): MirrorError {
  if (error instanceof MirrorError) return error
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  // A repo that was renamed repeatedly, or after the first bytes: the next request asks again.
  if (isRepoMoved(error)) return new MirrorError('origin_bad_answer', { cause: error })
  if (code === 'EMFILE' || code === 'ENFILE') return new MirrorError('overloaded', { cause: error })
  if (code === 'FST_ERR_CTP_BODY_TOO_LARGE') return new MirrorError('request_too_large', { cause: error })
  // Not as the cause: its message quotes the raw URL, with anything that was escaped in it.
  if (isClientError(error)) return new MirrorError('bad_request', { detail: { reason: String(code) } })
  return new MirrorError('bug', { cause: error })
}

function isClientError(error: unknown): boolean {
  if (!(error instanceof Error) || !('statusCode' in error)) return false
  return typeof error.statusCode === 'number' && error.statusCode >= 400 && error.statusCode < 500
}

/** The response for an error: status, header fields, and a body with the message that the `reader` shows. */
export function failureOf(
  error: MirrorError,
  context: { readonly aboutRepo: boolean; readonly reader?: RequestRecord['reader'] } = { aboutRepo: false },
): {
  readonly status: number
  readonly headers: Record<string, string>
  readonly body: Buffer
} {
  const row: (typeof ERRORS)[ErrorCode] = ERRORS[error.code]
  const message = headerText(error.code === 'bug' ? row.message : error.message, MAX_MESSAGE_CHARS)
  const { type, body } = bodyOf(message, context.reader)
  const { contentRange: range, retryAfterSeconds } = error.detail
  return {
    status: error.status,
    body,
    headers: {
      'content-type': type,
      'content-length': String(body.length),
      'x-error-code': context.aboutRepo && 'repoHeader' in row ? row.repoHeader : row.header,
      'x-error-message': message,
      'access-control-allow-origin': '*',
      'access-control-expose-headers': EXPOSED_HEADERS,
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
      ...(row.status === 401 ? { 'www-authenticate': 'Bearer realm="hubmirror"' } : {}),
      // If the framing is in doubt, the next bytes on the connection may not be a request.
      ...(error.code === 'bad_request' ? { connection: 'close' } : {}),
      // Without a time, huggingface_hub would report "Rate limited" and wait longer.
      ...(row.status === 429 || retryAfterSeconds !== undefined
        ? { 'retry-after': String(retryAfterSeconds ?? RETRY_AFTER_SECONDS) }
        : {}),
      // Clients print only the first warning of a topic, so each kind of refusal has a topic of its own.
      ...(REFUSALS.has(error.code) || (context.aboutRepo && WARNED.has(error.code))
        ? { 'x-hf-warning': `${row.header}; ${message}` }
        : {}),
      ...(error.code === 'range_not_satisfiable' && typeof range === 'string'
        ? { 'content-range': range }
        : {}),
    },
  }
}

/**
 * Git prints a text behind `remote:`, and nothing of another type. Git LFS prints the `message` of JSON, and clients of the
 * API its `error`, also those that speak Git LFS.
 */
function bodyOf(message: string, reader: RequestRecord['reader']) {
  if (reader === 'git') return { type: 'text/plain; charset=utf-8', body: Buffer.from(`${message}\n`) }
  const value = reader === 'git-lfs' ? { message, error: message } : { error: message }
  return { type: 'application/json; charset=utf-8', body: Buffer.from(JSON.stringify(value)) }
}

/** Responds with the error, or breaks the connection if a response has begun. */
export function sendFailure(
  response: ServerResponse,
  thrown: unknown,
  record: RequestRecord,
  headOnly: boolean,
): void {
  if (response.destroyed || record.isGone) {
    response.destroy()
    return
  }
  if (response.headersSent) {
    record.error = thrown
    record.outcome = 'error'
    breakConnection(response)
    return
  }
  // Fields that an earlier step set belong to a response that will not be sent.
  for (const name of response.getHeaderNames()) response.removeHeader(name)
  if (thrown instanceof RefusedByHub) {
    noteRefusal(record.access, thrown.refusal)
    const answer = refusalAnswer(thrown.refusal, { anonymous: false, aboutRepo: true })
    record.outcome = 'refused'
    const message = answer.headers['x-error-message']
    // Where the Hub has sent no words, git-lfs reads those of the mirror only in its own form.
    const isMute = thrown.refusal.body.length === 0 && message !== undefined && record.reader === 'git-lfs'
    const words = isMute ? bodyOf(message, record.reader) : undefined
    const type: Record<string, string> = words === undefined ? {} : { 'content-type': words.type }
    const headers = { ...answer.headers, ...outcomeHeaders(answer), ...type }
    const sent = answer.body.kind === 'bytes' ? answer.body.bytes : Buffer.alloc(0)
    respond(response, answer.status, headers, words?.body ?? sent, headOnly, record)
    return
  }
  const error = asMirrorError(thrown)
  const deniedBy = DENIED_BY.get(error.code)
  const { status, headers, body } = failureOf(error, {
    aboutRepo: error.code === 'policy_denied' || record.about.repo !== undefined,
    reader: record.reader,
  })
  const isRefusal = REFUSALS.has(error.code)
  record.outcome = isRefusal ? 'refused' : 'error'
  // The refusal replaces any earlier decision.
  if (isRefusal) record.access.decision = undefined
  const sent = { ...headers, ...outcomeHeaders(record) }
  if (deniedBy === undefined) {
    record.error = error
  } else {
    const rule = deniedBy === 'policy' ? { rule: String(error.detail['rule'] ?? '') } : {}
    Object.assign(record.access, {
      decision: 'denied',
      reason: deniedBy,
      ...rule,
      code: headers['x-error-code'],
    })
  }
  respond(response, status, sent, body, headOnly, record)
}

function respond(
  response: ServerResponse,
  status: number,
  headers: Record<string, string>,
  body: Buffer,
  headOnly: boolean,
  record: RequestRecord,
): void {
  record.firstByteAt = performance.now()
  if (!headOnly) record.bytes += body.length
  const said = headOnly ? headFields(status, headers) : headers
  response.writeHead(status, { ...said, 'x-request-id': record.id, 'content-length': String(body.length) })
  response.end(headOnly ? undefined : body)
}
