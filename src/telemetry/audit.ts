// The lines of the audit log and their stream: one line of JSON for each access decision and each administrative act. The
// stream has no level, and is separate from the log. This file decides nothing.

import { type DestinationStream, pino } from 'pino'
import { diskMessage } from '../disk-errors.ts'
import { type About, createLogDestination, scrub } from './log.ts'
import type { AccessResult } from './observer.ts'

/** The decision about the caller's access. Closed: docs/audit.md lists the words. */
export type AuditDecision = 'allowed' | 'refused' | 'denied' | 'limited' | 'unknown'

/** The reason of a decision. Closed, like the decisions. */
export type AuditReason =
  /** The repo is public: the Hub confirmed this within the access TTL, or answered an anonymous request. */
  | 'public'
  /** The repo was public when the Hub could last be reached. */
  | 'was-public'
  /** The repo is not public. The Hub accepted this credential within the grace, and cannot be asked now. */
  | 'grace'
  /** The repo is not public. A rule lets this caller read what is stored, and the Hub cannot be asked now. */
  | 'rule'
  /** The Hub accepted this credential for this request. */
  | 'proved'
  /** The Hub accepted or refused this credential a moment ago. */
  | 'remembered'
  /** The request was forwarded to the Hub, which answered it. */
  | 'passed'
  /** The mirror answered by itself, about one of its own tokens. */
  | 'own'
  /** The Hub said no; `code` is its X-Error-Code. */
  | 'hub'
  | 'policy'
  /** The network of the caller is not allowed. */
  | 'network'
  /** The mirror token is unknown, expired, revoked, or does not cover this repo. */
  | 'mirror-token'
  | 'quota'
  /** The mirror does not forward writes. */
  | 'read-only'
  /** Access could not be determined. The mirror's own error is in `code`. */
  | 'error'
  /** The client disconnected before the decision. */
  | 'left'

export type CallerKind = 'anonymous' | 'hub-token' | 'mirror-token' | 'other'

/** Filled in while a request is served, by the code that decides. The last value counts. It never contains a token. */
export interface AccessNote {
  decision?: AuditDecision | undefined
  reason?: AuditReason | undefined
  /** The X-Error-Code of the refusal. */
  code?: string | undefined
  /** The names of the policy rules that applied, separated by commas, the deciding one last. */
  rule?: string | undefined
  /** The name of the caller's mirror token. */
  mirrorToken?: string | undefined
  /** The name of the lent Hub token with which the mirror asked the Hub. */
  hubToken?: string | undefined
}

/** One access decision, after the response has ended. */
export interface AccessEvent extends About {
  readonly requestId: string
  readonly method: string
  readonly route: string
  readonly caller: {
    readonly kind: CallerKind
    readonly address: string
    /** The fingerprint of the caller's token, as in the log. */
    readonly token: string | undefined
  }
  readonly note: AccessNote & { readonly decision: AuditDecision }
  readonly status: number
}

/** An administrative act: by an operator, or by the mirror itself on stored content. */
export interface Act {
  readonly act: 'token-create' | 'token-revoke' | 'prune' | 'verify' | 'scrub' | 'reload'
  /** The user of the operating system, or the mirror itself. */
  readonly by: { readonly kind: 'os-user'; readonly name: string; readonly uid: number } | { kind: 'mirror' }
  /** The object of the act and its result. Plain values, and never a token. */
  readonly details: Readonly<Record<string, string | number | boolean | null | readonly string[]>>
}

/** Writes the audit log. Every method returns at once and never throws, because requests must not depend on it. */
export interface Auditor {
  /** Whether anything is written. If not, callers need not create events. */
  readonly isOn: boolean
  access(event: AccessEvent): void
  act(act: Act): void
}

/** Writes nothing. */
export const silentAuditor: Auditor = { isOn: false, access() {}, act() {} }

/** Longer than any path of the Hub. */
const TEXT_MAX = 4096

/** The line of an access decision, including its line end. */
export function accessLine(event: AccessEvent, at: Date): string {
  const { note, caller } = event
  return line(at, 'access', {
    requestId: event.requestId,
    caller: {
      kind: caller.kind,
      address: caller.address,
      token: caller.token,
      mirrorToken: note.mirrorToken,
    },
    method: event.method,
    route: event.route,
    repo: event.repo,
    revision: event.revision,
    path: event.path,
    decision: note.decision,
    reason: note.reason,
    code: note.code,
    rule: note.rule,
    hubToken: note.hubToken,
    status: event.status,
  })
}

/** The line of an act, including its line end. */
export function actLine({ act, by, details }: Act, at: Date): string {
  return line(at, 'act', { act, by, ...details })
}

function line(at: Date, audit: 'access' | 'act', fields: object): string {
  const text = JSON.stringify({ time: at.toISOString(), audit, ...fields }, (_key, value: unknown) =>
    typeof value === 'string' && value.length > TEXT_MAX ? `${value.slice(0, TEXT_MAX)}…` : value,
  )
  // JSON may contain these characters unescaped, but terminals and line readers treat them specially.
  const plain = text.replace(
    /[\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
    (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
  return `${scrub(plain)}\n`
}

/** The label of the metric for a decision. */
export function accessResultOf({
  decision,
  reason,
}: AccessNote & { readonly decision: AuditDecision }): AccessResult {
  if (decision !== 'allowed') return decision
  return reason === 'public' || reason === 'was-public' ? 'public' : 'granted'
}

/** The target of the lines. */
export type AuditTarget =
  | { readonly kind: 'stdout' | 'stderr' }
  | { readonly kind: 'file'; readonly path: string }

/** The audit log of a running mirror. */
export interface AuditLog extends Auditor {
  /** Opens the file again under its name, after log rotation has renamed the old one. */
  reopen(): void
  /** Resolves when all lines are written, or cannot be written. */
  close(): Promise<void>
}

/** Is notified of lines that cannot be written. */
export interface AuditListener {
  /** The first of several failed writes. Lines are kept in memory, and written with the next line if possible. */
  onFailed(error: unknown): void
  /** Lines can be written again. */
  onRecovered(): void
  /** A line is lost, because the memory for unwritten lines is full. */
  onLost(): void
}

/** The audit log cannot be opened or written. A mirror does not start then, and a command changes nothing. */
export class UnusableAuditLog extends Error {
  constructor(path: string, cause: unknown) {
    super(diskMessage(`cannot write the audit log ${path}`, cause), { cause })
    this.name = 'UnusableAuditLog'
  }
}

/** The mode of the file. It is private, because it records who reads what. */
const MODE = 0o600
/** The bound of unwritten lines in memory, about 100,000. */
const WAITING_MAX_BYTES = 16 * 1024 * 1024
/** How long to wait for a disk that may not respond any more. */
const DISK_TIMEOUT_MS = 5_000

/**
 * Opens the audit log; without `target` it writes nothing. A new file has mode 0600, and lines are only appended. Lines for
 * stdout go through `stdout` if that is given, so that they do not mix with lines of the log. Rejects with UnusableAuditLog.
 */
export async function openAuditLog(
  target: AuditTarget | undefined,
  options: {
    readonly now: () => number
    readonly listener: AuditListener
    readonly stdout?: DestinationStream | undefined
  },
): Promise<AuditLog> {
  const { now, listener, stdout } = options
  const auditor = (write: (text: string) => void): Auditor => ({
    isOn: true,
    access: (event) => write(accessLine(event, new Date(now()))),
    act: (act) => write(actLine(act, new Date(now()))),
  })
  const none = { reopen() {}, close: () => Promise.resolve() }
  if (target === undefined) return { ...silentAuditor, ...none }
  if (target.kind === 'stdout' && stdout !== undefined)
    return { ...auditor((text) => stdout.write(text)), ...none }
  const stream =
    target.kind === 'file'
      ? await openFile(target.path)
      : createLogDestination({ fd: target.kind === 'stdout' ? 1 : 2 })
  let failing = false
  let closed = false
  let reopened = Promise.resolve()
  stream.on('error', (error: unknown) => {
    if (failing) return
    failing = true
    listener.onFailed(error)
  })
  stream.on('write', () => {
    if (!failing) return
    failing = false
    listener.onRecovered()
  })
  stream.on('drop', () => listener.onLost())
  return {
    ...auditor((text) => {
      if (closed) listener.onLost()
      else stream.write(text)
    }),
    reopen() {
      if (target.kind !== 'file' || closed) return
      // A stream that is asked to end while it reopens its file would do neither, so `close` waits.
      reopened = eitherOf(stream, 'ready', 'error')
      stream.reopen()
    },
    async close() {
      if (closed) return
      closed = true
      await reopened
      const ended = eitherOf(stream, 'close', 'error')
      stream.end()
      await ended
      // Otherwise a stream whose disk is full would retry forever, and keep the process alive.
      stream.destroy()
    },
  }
}

/** Resolves with the first of two events, or after DISK_TIMEOUT_MS. */
function eitherOf(stream: Destination, good: 'ready' | 'close', bad: 'error'): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer)
      stream.off(good, done)
      stream.off(bad, done)
      resolve()
    }
    const timer = setTimeout(done, DISK_TIMEOUT_MS)
    stream.on(good, done)
    stream.on(bad, done)
  })
}

type Destination = ReturnType<typeof pino.destination>

function openFile(path: string): Promise<Destination> {
  const file = { dest: path, append: true, mode: MODE }
  return new Promise((resolve, reject) => {
    try {
      // First open the file synchronously: an asynchronous stream whose file never opened throws when the process ends.
      pino.destination({ ...file, sync: true }).destroy()
    } catch (error) {
      reject(new UnusableAuditLog(path, error))
      return
    }
    const stream = pino.destination({ ...file, sync: false, maxLength: WAITING_MAX_BYTES })
    const failed = (error: unknown): void => reject(new UnusableAuditLog(path, error))
    stream.once('error', failed)
    stream.once('ready', () => {
      stream.off('error', failed)
      resolve(stream)
    })
  })
}
