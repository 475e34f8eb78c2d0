// The form of the log: fields by name, errors by allow-list, and a last filter over every line, so that no token and no
// signed query leaves the process. It knows neither the callers of the logger nor the destination.
import { type DestinationStream, type Logger, pino } from 'pino'
import { MirrorError } from '../errors.ts'
import type { Outcome, RouteKind } from './observer.ts'
import { keyedDigest } from './run-key.ts'

const MESSAGE_MAX = 500
const TEXT_MAX = 1000
const STACK_MAX = 4000
/** The bound of a chain of causes. Deeper causes explain nothing more, and a cycle must end. */
const CAUSES_MAX = 4
const LIST_MAX = 20
const DEPTH_MAX = 3

/** What a request concerns on the Hub, as far as it is known. Requests for the same content share the object. */
export interface About {
  readonly repo?: string | undefined
  readonly revision?: string | undefined
  readonly path?: string | undefined
}

/** The fields of the line of a request. Dashboards and the documentation rely on their names. */
export interface RequestFields {
  readonly requestId: string
  readonly method: string
  readonly route: RouteKind
  readonly about: About
  readonly status: number
  readonly outcome: Outcome
  /** The names of the operator's rules that applied. */
  readonly rule?: string | undefined
  /** Body bytes that were written to the client's socket. */
  readonly bytes: number
  /** Body bytes that a front proxy is to send; absent from the line where there are none. */
  readonly handedOver?: number
  readonly originTrips: number
  readonly firstByteMs?: number | undefined
  readonly totalMs: number
  /** The client's address. */
  readonly client: string
  /** The fingerprint of the caller's token, never the token itself. */
  readonly token?: string | undefined
  /** The name of the caller's mirror token. */
  readonly mirrorToken?: string | undefined
  /** The mirror's own error. A bug is logged as error, a problem with the origin as warn. */
  readonly error?: unknown
}

/**
 * Creates a logger of JSON lines. The caller ends or flushes `destination`; without one, lines go to stdout at once. Lines
 * of requests are gathered for up to `gatherMs`, because a write costs more than a line. The default gathers those of one
 * turn of the event loop. `flushRequests` writes the gathered lines.
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
      // Without pid and host name: the collector of the lines knows both.
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      serializers: {
        err: describeError,
        error: describeError,
        req: describeRequest,
        res: describeResponse,
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
 * Creates a destination that never blocks the event loop. If the reader of stdout stalls, lines are lost and `onDrop` is
 * called, but downloads go on; a synchronous write to a full pipe would stop the whole process. Before the process exits,
 * the caller must call `end` and wait for `close`: `flushSync` does not wait for a running write, which `process.exit` may
 * then drop.
 */
export function createLogDestination(
  options: { readonly fd?: number; readonly onDrop?: () => void } = {},
): ReturnType<typeof pino.destination> {
  const destination = pino.destination({ dest: options.fd ?? 1, sync: false, maxLength: 16_777_216 })
  destination.on('drop', () => options.onDrop?.())
  return destination
}

/**
 * Logs one answered request. Probes of the mirror's own routes are `debug`, because they would be most of the log. All
 * others are `info`, including refusals by the Hub, which are responses.
 */
export function logRequest(logger: Logger, fields: RequestFields): void {
  const level = levelOf(fields)
  if (logger.isLevelEnabled(level)) batches.get(logger)?.add(level, fields)
}

/** Writes the gathered lines of requests. */
export function flushRequests(logger: Logger): void {
  batches.get(logger)?.flush()
}

function levelOf({ error, status, route }: RequestFields): 'debug' | 'info' | 'warn' | 'error' {
  if (error === undefined) return route === 'ops' && status < 400 ? 'debug' : 'info'
  const own = error instanceof MirrorError && error.code !== 'bug'
  if (own) return status < 500 ? 'info' : 'warn'
  return 'error'
}

/** A line that is not written yet. */
interface Pending {
  readonly level: string
  /** Epoch ms. */
  readonly at: number
  readonly fields: RequestFields
}

/** This many lines are written without waiting for more. */
const FULL_BATCH = 512

/**
 * Gathers the lines of requests for one destination. They bypass pino, because there is one for every request. Formatting
 * them together takes two thirds of the time of formatting each between two requests.
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

/** The time in ISO 8601, as pino writes it. */
function isoTime(at: number): string {
  if (at !== lastAt) {
    lastAt = at
    lastTime = new Date(at).toISOString()
  }
  return lastTime
}

/** The JSON fields of a request, each after a comma. Text from outside is filtered for credentials. */
function requestText(fields: RequestFields): string {
  const { firstByteMs, error } = fields
  return (
    scrubbed('requestId', fields.requestId) +
    scrubbed('method', fields.method) +
    `,"route":"${fields.route}"` +
    aboutText(fields.about) +
    `,"status":${fields.status},"outcome":"${fields.outcome}"` +
    scrubbed('rule', fields.rule) +
    `,"bytes":${fields.bytes}` +
    (fields.handedOver ? `,"handedOver":${fields.handedOver}` : '') +
    `,"originTrips":${fields.originTrips}` +
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

/** Text that cannot be a credential and that JSON does not escape: ids, addresses, most methods. */
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

// The batch of each logger that was created here.
const batches = new WeakMap<Logger, LineBatch>()

/** Six hex digits that distinguish tokens within one run of the process, and reveal nothing else about them. */
export function fingerprint(token: string): string {
  return keyedDigest('log', token).toString('hex').slice(0, 6)
}

/** A URL without user-info, query and fragment, so that the rest of a signed URL grants nothing. Never throws. */
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

/** Text that every credential contains. Almost no line matches, and one test costs less than six replacements. */
const MAY_BE_SECRET =
  /hf(?:_|%)|bearer|basic|x-amz-|x-goog-|signature|policy|key-pair-id|\bsig|eyJ|\/\/[^/\s"\\@]+@/i

/** The last safety net: replaces everything in a finished line that resembles a credential. The JSON stays well formed. */
export function scrub(line: string): string {
  if (!MAY_BE_SECRET.test(line)) return line
  let text = line
  for (const [pattern, replacement] of SECRETS) text = text.replace(pattern, replacement)
  return text
}

function bound(text: string, max: number): string {
  return text.length > max ? `${text.slice(0, max)}…` : text
}

/** The bounded text, or undefined for other values: libraries put anything into the fields of an error. */
function textOnly(value: unknown, max: number): string | undefined {
  return typeof value === 'string' ? bound(value, max) : undefined
}

/** Name, code, message and cause of an error. The stack is added only for a bug of the mirror, which it helps to fix. */
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

function describeResponse(response: unknown): unknown {
  if (typeof response !== 'object' || response === null || !('statusCode' in response)) return undefined
  return { statusCode: plainValue(response.statusCode, DEPTH_MAX) }
}

// Values of these keys are left to their serializers.
const SERIALIZED = new Set(['err', 'error', 'req', 'res'])

function plainFields(fields: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(fields).map(([key, value]) => [key, SERIALIZED.has(key) ? value : plainValue(value, 1)]),
  )
}

/** Plain data within bounds. Any other object, such as a socket, a request or headers, becomes undefined. */
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
