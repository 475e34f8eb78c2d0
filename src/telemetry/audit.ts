// What the audit log says, and the stream it goes to: one line of JSON per decision about a caller's right and per
// administrative act. A stream of its own: it has no level, and nothing of the log is in it. It decides nothing.

import { type DestinationStream, pino } from 'pino'
import { type About, createLogDestination, scrub } from './log.ts'
import type { AccessResult } from './observer.ts'

/** What became of the caller's right. Closed: docs/audit.md lists the words. */
export type AuditDecision = 'allowed' | 'refused' | 'denied' | 'limited' | 'unknown'

/** By what. Closed, like the decisions. */
export type AuditReason =
  /** Everybody may: the Hub said so within the access time, or answered a stranger. */
  | 'public'
  /** Everybody might, by the last word of a Hub that is away. */
  | 'was-public'
  /** The Hub accepted this very credential for this request. */
  | 'proved'
  /** The Hub accepted, or refused, this very credential a moment ago. */
  | 'remembered'
  /** Handed on to the Hub, which answered it. */
  | 'passed'
  /** Asked of the mirror itself: who one of its own tokens is. */
  | 'own'
  /** The Hub said no; `code` is its X-Error-Code. */
  | 'hub'
  | 'policy'
  /** The network that the caller is in. */
  | 'network'
  /** A token of a mirror that is unknown here, expired, revoked, or not good for this repo. */
  | 'mirror-token'
  | 'quota'
  /** The mirror takes no writes. */
  | 'read-only'
  /** Nobody could say: the error of the mirror's own is in `code`. */
  | 'error'
  /** The client left before it was decided. */
  | 'left'

export type CallerKind = 'anonymous' | 'hub-token' | 'mirror-token' | 'other'

/** Filled in while a request is served, by whoever decides; the last word counts. Never a token. */
export interface AccessNote {
  decision?: AuditDecision | undefined
  reason?: AuditReason | undefined
  /** X-Error-Code of the refusal. */
  code?: string | undefined
  /** Which rules of the policy had a say, the deciding one last; names with commas. */
  rule?: string | undefined
  /** The name of the mirror token that the caller showed. */
  mirrorToken?: string | undefined
  /** The name of the Hub token that went to the Hub instead of the caller's own. */
  hubToken?: string | undefined
}

/** One decision, when its answer has ended. */
export interface AccessEvent extends About {
  readonly requestId: string
  readonly method: string
  readonly route: string
  readonly caller: {
    readonly kind: CallerKind
    readonly address: string
    /** The fingerprint that stands in the log, too. */
    readonly token: string | undefined
  }
  readonly note: AccessNote & { readonly decision: AuditDecision }
  readonly status: number
}

/** Something an operator did, or the mirror on its own to what is stored. */
export interface Act {
  readonly act: 'token-create' | 'token-revoke' | 'prune' | 'verify' | 'scrub' | 'reload'
  /** The user of the operating system, or the mirror itself. */
  readonly by: { readonly kind: 'os-user'; readonly name: string; readonly uid: number } | { kind: 'mirror' }
  /** To what, and with which result. Plain values, and never a token. */
  readonly details: Readonly<Record<string, string | number | boolean | null | readonly string[]>>
}

/** Every method returns at once and never throws: serving does not depend on it. */
export interface Auditor {
  /** Whether anything is written at all: events need not be made up otherwise. */
  readonly isOn: boolean
  access(event: AccessEvent): void
  act(act: Act): void
}

/** Writes nothing. */
export const silentAuditor: Auditor = { isOn: false, access() {}, act() {} }

/** Longer than any path of the Hub. */
const TEXT_MAX = 4096

/** The line of a decision, with its end. */
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

/** The line of an act, with its end. */
export function actLine({ act, by, details }: Act, at: Date): string {
  return line(at, 'act', { act, by, ...details })
}

function line(at: Date, audit: 'access' | 'act', fields: object): string {
  const text = JSON.stringify({ time: at.toISOString(), audit, ...fields }, (_key, value: unknown) =>
    typeof value === 'string' && value.length > TEXT_MAX ? `${value.slice(0, TEXT_MAX)}…` : value,
  )
  // What JSON may hold raw and a terminal or a reader of lines takes for more than a letter.
  const plain = text.replace(
    /[\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
    (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
  return `${scrub(plain)}\n`
}

/** The word of the metric for a decision. */
export function accessResultOf({ decision, reason }: AccessNote & { readonly decision: AuditDecision }): AccessResult {
  if (decision !== 'allowed') return decision
  return reason === 'public' || reason === 'was-public' ? 'public' : 'granted'
}

/** Where the lines go. */
export type AuditTarget =
  | { readonly kind: 'stdout' | 'stderr' }
  | { readonly kind: 'file'; readonly path: string }

/** The audit log of a running mirror. */
export interface AuditLog extends Auditor {
  /** Opens the file of that name anew, after somebody has moved the old one away. */
  reopen(): void
  /** Resolves when what was noted is written, or cannot be. */
  close(): Promise<void>
}

/** What is told of lines that could not be written. */
export interface AuditListener {
  /** The first failed write of a row of them: lines are kept in memory, and tried again with the next. */
  onFailed(error: unknown): void
  onRecovered(): void
  /** A line that found no room in memory, and is lost. */
  onLost(): void
}

/** Where the audit log cannot be opened, a mirror does not start and a command does nothing. */
export class UnusableAuditLog extends Error {
  constructor(path: string, cause: unknown) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    super(`cannot write the audit log ${path}: ${reason}`, { cause })
    this.name = 'UnusableAuditLog'
  }
}

/** Of the file: it says who reads what. */
const MODE = 0o600
/** Some hundred thousand lines. */
const WAITING_MAX_BYTES = 16 * 1024 * 1024
/** For a disk that does not answer any more. */
const ANSWERS_WITHIN_MS = 5_000

/**
 * Opens the stream; `target` undefined is none. A file is made with mode 0600 and only ever appended to. Lines for
 * stdout go through `stdout` where that is given, so that they and those of the log do not run into each other.
 * Throws UnusableAuditLog.
 */
export async function openAuditLog(
  target: AuditTarget | undefined,
  options: {
    readonly now: () => number
    readonly troubles: AuditListener
    readonly stdout?: DestinationStream | undefined
  },
): Promise<AuditLog> {
  const { now, troubles, stdout } = options
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
    troubles.onFailed(error)
  })
  stream.on('write', () => {
    if (!failing) return
    failing = false
    troubles.onRecovered()
  })
  stream.on('drop', () => troubles.onLost())
  return {
    ...auditor((text) => {
      if (closed) troubles.onLost()
      else stream.write(text)
    }),
    reopen() {
      if (target.kind !== 'file' || closed) return
      // A stream that is told to end while it opens its file anew would do neither.
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
      // Else a stream whose disk is full would try on, and keep the process.
      stream.destroy()
    },
  }
}

/** Resolves with the first of two events, or when it is time to go without. */
function eitherOf(stream: Destination, good: 'ready' | 'close', bad: 'error'): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(late)
      stream.off(good, done)
      stream.off(bad, done)
      resolve()
    }
    const late = setTimeout(done, ANSWERS_WITHIN_MS)
    stream.on(good, done)
    stream.on(bad, done)
  })
}

type Destination = ReturnType<typeof pino.destination>

function openFile(path: string): Promise<Destination> {
  const file = { dest: path, append: true, mode: MODE }
  return new Promise((resolve, reject) => {
    try {
      // First one that opens at once: a stream like the next, whose file was never open, throws when the process ends.
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
