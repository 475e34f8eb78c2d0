// What the log may hold: fields by name, errors by allow-list, and a last scrub over every line, so that no token and
// no signed query leaves the process. It does not know who logs what, nor where the lines go.
import { type DestinationStream, type Logger, pino } from 'pino'
import { MirrorError } from '../errors.ts'
import type { Outcome, RouteKind } from './observer.ts'
import { keyedDigest } from './run-key.ts'

const MESSAGE_MAX = 500
const TEXT_MAX = 1000
const STACK_MAX = 4000
/** A cause of a cause of a cause explains enough; a cycle of causes must end somewhere. */
const CAUSES_MAX = 4
const LIST_MAX = 20
const DEPTH_MAX = 3

/** What of the Hub a request is about, as far as it is known. The same object for requests about the same. */
export interface About {
  readonly repo?: string | undefined
  readonly revision?: string | undefined
  readonly path?: string | undefined
}

/** One answered request, in the field names that dashboards and the README rely on. */
export interface RequestFields {
  readonly requestId: string
  readonly method: string
  readonly route: RouteKind
  readonly about: About
  readonly status: number
  readonly outcome: Outcome
  /** The rules of the operator that had a say, by name. */
  readonly rule?: string | undefined
  /** Body bytes handed to the client's socket. */
  readonly bytes: number
  readonly originTrips: number
  readonly firstByteMs?: number | undefined
  readonly totalMs: number
  /** The client's address. */
  readonly client: string
  /** Its fingerprint, never the token itself. */
  readonly token?: string | undefined
  /** The name of the caller's mirror token. */
  readonly mirrorToken?: string | undefined
  /** What went wrong on our side. A bug is logged as error, trouble with the origin as warn. */
  readonly error?: unknown
}

/**
 * A logger of JSON lines. The caller ends or flushes `destination`; without one, lines go to stdout at once. Lines of
 * requests are gathered for up to `gatherMs` (default: those of one turn of the event loop), since a write costs more
 * than a line; `flushRequests` sends what waits.
 */
export function createLogger(options: {
  readonly level: string
  readonly destination?: DestinationStream
  readonly gatherMs?: number
}): Logger {
  const destination = options.destination ?? pino.destination({ dest: 1, sync: true })
  const logger = pino(
    {
      level: options.level,
      // No pid and no host name: whoever collects the lines knows both.
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      serializers: {
        err: describeError,
        error: describeError,
        req: describeRequest,
        res: describeAnswer,
        msg: (text: unknown) => (typeof text === 'string' ? bound(text, TEXT_MAX) : text),
      },
      formatters: {
        level: (label) => ({ level: label }),
        log: (fields) => plainFields(fields),
      },
      hooks: { streamWrite: scrub },
    },
    destination,
  )
  batches.set(logger, new LineBatch(destination, options.gatherMs ?? 0))
  return logger
}

/**
 * A destination that never blocks the event loop: a reader of stdout that stalls costs lines, not downloads (a
 * synchronous write to a full pipe stops the whole process). Before it exits, the caller calls `end` and waits for
 * `close`: `flushSync` alone does not wait for a write that is under way, and so may lose it to `process.exit`.
 */
export function createLogDestination(
  options: { readonly fd?: number; readonly onDrop?: () => void } = {},
): ReturnType<typeof pino.destination> {
  const destination = pino.destination({ dest: options.fd ?? 1, sync: false, maxLength: 16_777_216 })
  destination.on('drop', () => options.onDrop?.())
  return destination
}

/**
 * One line for one answered request. Probes of the mirror's own routes are `debug`, or they would be most of the log;
 * all else is `info`, refusals included: they are answers.
 */
export function logRequest(logger: Logger, fields: RequestFields): void {
  const level = levelOf(fields)
  if (logger.isLevelEnabled(level)) batches.get(logger)?.add(level, fields)
}

/** Sends the lines of requests that wait. */
export function flushRequests(logger: Logger): void {
  batches.get(logger)?.flush()
}

function levelOf({ error, status, route }: RequestFields): 'debug' | 'info' | 'warn' | 'error' {
  if (error === undefined) return route === 'ops' && status < 400 ? 'debug' : 'info'
  const own = error instanceof MirrorError && error.code !== 'bug'
  if (own) return status < 500 ? 'info' : 'warn'
  return 'error'
}

/** What a line is made of when it leaves. */
interface Pending {
  readonly level: string
  /** Epoch ms. */
  readonly at: number
  readonly fields: RequestFields
}

/** So many lines leave without waiting for others. */
const FULL_BATCH = 512

/**
 * The lines of requests on their way to one destination. Not by pino's own steps: there is one for every request. They
 * are made all at once, which takes two thirds of what it takes to make each between two requests.
 */
class LineBatch {
  readonly #destination: DestinationStream
  readonly #gatherMs: number
  #pending: Pending[] = []

  constructor(destination: DestinationStream, gatherMs: number) {
    this.#destination = destination
    this.#gatherMs = gatherMs
  }

  add(level: string, fields: RequestFields): void {
    if (this.#pending.length === 0) {
      if (this.#gatherMs > 0) setTimeout(() => this.flush(), this.#gatherMs)
      else setImmediate(() => this.flush())
    }
    this.#pending.push({ level, at: Date.now(), fields })
    if (this.#pending.length >= FULL_BATCH) this.flush()
  }

  flush(): void {
    const pending = this.#pending
    this.#pending = []
    if (pending.length > 0) this.#destination.write(pending.map(lineOf).join(''))
  }
}

function lineOf({ level, at, fields }: Pending): string {
  return `{"level":"${level}","time":"${isoTime(at)}"${requestText(fields)},"msg":"request"}\n`
}

let lastAt = 0
let lastTime = new Date(lastAt).toISOString()

/** ISO 8601, as pino has it. */
function isoTime(at: number): string {
  if (at !== lastAt) {
    lastAt = at
    lastTime = new Date(at).toISOString()
  }
  return lastTime
}

/** The inside of the JSON of a request, each field with a comma before it, and whatever came from outside scrubbed. */
function requestText(fields: RequestFields): string {
  const { firstByteMs, error } = fields
  return (
    scrubbed('requestId', fields.requestId) +
    scrubbed('method', fields.method) +
    `,"route":"${fields.route}"` +
    aboutText(fields.about) +
    `,"status":${fields.status},"outcome":"${fields.outcome}"` +
    scrubbed('rule', fields.rule) +
    `,"bytes":${fields.bytes},"originTrips":${fields.originTrips}` +
    (firstByteMs === undefined ? '' : `,"firstByteMs":${tenths(firstByteMs)}`) +
    `,"totalMs":${tenths(fields.totalMs)}` +
    scrubbed('client', bound(fields.client, TEXT_MAX)) +
    text('token', fields.token) +
    scrubbed('mirrorToken', fields.mirrorToken) +
    (error === undefined ? '' : scrub(`,"err":${JSON.stringify(describeError(error)) ?? null}`))
  )
}

const aboutTexts = new WeakMap<About, string>()

function aboutText(about: About): string {
  const known = aboutTexts.get(about)
  if (known !== undefined) return known
  const { repo, revision, path } = about
  const made = scrub(
    text('repo', repo) +
      text('revision', revision) +
      text('path', path === undefined ? undefined : bound(path, TEXT_MAX)),
  )
  aboutTexts.set(about, made)
  return made
}

/** Of these characters no credential can be made, and JSON has them as they are: ids, addresses, most methods. */
const HARMLESS = /^(?:[\da-f.:-]*|GET|HEAD)$/

function scrubbed(name: string, value: string | undefined): string {
  if (value === undefined) return ''
  return HARMLESS.test(value) ? `,"${name}":"${value}"` : scrub(text(name, value))
}

function text(name: string, value: string | undefined): string {
  return value === undefined ? '' : `,"${name}":${JSON.stringify(value)}`
}

function tenths(milliseconds: number): number {
  return Math.round(milliseconds * 10) / 10
}

// Of every logger made here.
const batches = new WeakMap<Logger, LineBatch>()

/** Six hex digits that tell tokens apart within one run of the process, and nothing else about them. */
export function fingerprint(token: string): string {
  return keyedDigest('log', token).toString('hex').slice(0, 6)
}

/** A URL without user-info, query and fragment: what remains of a signed URL opens nothing. Never throws. */
export function redactUrl(url: string | URL): string {
  const text = String(url).replace(/[?#].*$/s, '')
  return bound(text.replace(/^([a-z][a-z0-9+.-]*:)?\/\/[^/]*@/i, '$1//'), TEXT_MAX)
}

// Each example matches its expression: hf_ and 34 letters, hf_jwt_…; 'Bearer abc', 'Basic dXNlcjpwYXNzd29yZA==';
// 'X-Amz-Signature=0a1b', 'Policy%3DeyJ'; a JWT; '//user:password@'. 'hf_hub' and 'policy: deny' match none.
const SECRETS: readonly (readonly [RegExp, string])[] = [
  [/hf(?:_|%(?:25)*5f)(?:[A-Za-z0-9]{20,}|(?:oauth|jwt)_[\w.-]+)/gi, 'hf_[redacted]'],
  [/\bBearer(?:\s|%20|\+)+[^\s"\\,]+/gi, 'Bearer [redacted]'],
  [/\bBasic(?:\s|%20|\+)+[A-Za-z0-9+/=_-]{16,}/gi, 'Basic [redacted]'],
  [
    /(X-Amz-(?:Signature|Credential|Security-Token)|X-Goog-(?:Signature|Credential)|Signature|Policy|Key-Pair-Id|\bsig)(?:=|%3D)[^&\s"\\]+/gi,
    '$1=[redacted]',
  ],
  [/eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*/g, '[redacted]'],
  [/\/\/[^/\s"\\@]+@/g, '//[redacted]@'],
]

/** What one of them must hold: nearly no line does, and one look costs less than six. */
const MAY_BE_SECRET =
  /hf(?:_|%)|bearer|basic|x-amz-|x-goog-|signature|policy|key-pair-id|\bsig|eyJ|\/\/[^/\s"\\@]+@/i

/** Belt and braces: replaces whatever looks like a credential in a finished line, and leaves the JSON well formed. */
export function scrub(line: string): string {
  if (!MAY_BE_SECRET.test(line)) return line
  let text = line
  for (const [pattern, replacement] of SECRETS) text = text.replace(pattern, replacement)
  return text
}

function bound(text: string, max: number): string {
  return text.length > max ? `${text.slice(0, max)}…` : text
}

/** Libraries put anything into the fields of an error. */
function textOnly(value: unknown, max: number): string | undefined {
  return typeof value === 'string' ? bound(value, max) : undefined
}

/** Name, code, message, cause; the stack only where the mirror itself is at fault and a stack helps to mend it. */
function describeError(error: unknown, depth = 0): unknown {
  if (!(error instanceof Error)) return plainValue(error, 1)
  const code = 'code' in error && typeof error.code === 'string' ? error.code : undefined
  const isBug = error instanceof MirrorError ? error.code === 'bug' : code === undefined
  const deeper = error.cause !== undefined && depth < CAUSES_MAX
  return {
    name: textOnly(error.name, 100),
    code,
    message: textOnly(error.message, MESSAGE_MAX),
    detail: error instanceof MirrorError ? plainValue(error.detail, 1) : undefined,
    stack: isBug ? textOnly(error.stack, STACK_MAX) : undefined,
    cause: deeper ? describeError(error.cause, depth + 1) : undefined,
  }
}

function describeRequest(request: unknown): unknown {
  if (typeof request !== 'object' || request === null) return undefined
  const method = 'method' in request ? plainValue(request.method, DEPTH_MAX) : undefined
  const url = 'url' in request && typeof request.url === 'string' ? redactUrl(request.url) : undefined
  return { method, url }
}

function describeAnswer(answer: unknown): unknown {
  if (typeof answer !== 'object' || answer === null || !('statusCode' in answer)) return undefined
  return { statusCode: plainValue(answer.statusCode, DEPTH_MAX) }
}

// Keys with a serializer of their own arrive there as they are.
const SERIALIZED = new Set(['err', 'error', 'req', 'res'])

function plainFields(fields: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(fields).map(([key, value]) => [key, SERIALIZED.has(key) ? value : plainValue(value, 1)]),
  )
}

/** Only plain data passes, and only so much of it; a socket, a request or a headers object does not. */
function plainValue(value: unknown, depth: number): unknown {
  if (typeof value === 'string') return bound(value, TEXT_MAX)
  if (typeof value === 'number' || typeof value === 'boolean' || value === null) return value
  if (typeof value === 'bigint') return value.toString()
  if (value instanceof URL) return redactUrl(value)
  if (value instanceof Error) return describeError(value)
  if (typeof value !== 'object' || depth > DEPTH_MAX) return undefined
  if (Array.isArray(value)) return value.slice(0, LIST_MAX).map((item) => plainValue(item, depth + 1))
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype !== Object.prototype && prototype !== null) return undefined
  const entries = Object.entries(value).slice(0, LIST_MAX)
  return Object.fromEntries(entries.map(([key, item]) => [key, plainValue(item, depth + 1)]))
}
