// The answers that a worker may repeat without asking: those that the main process says are the same for everybody,
// for as long as it says, until it says otherwise. Nothing is decided here, and nothing outlives the process.

import type { IncomingMessage } from 'node:http'
import { createCallers } from '../../callers/caller.ts'
import { createReadyRoute, type ReadyRoute } from '../../fast-path/cached-route.ts'
import { isSaidOnce, type Method, type ReadyAnswer, ReadyAnswers } from '../../fast-path/response-cache.ts'
import { keptFields } from '../../http/headers.ts'
import { isCommitHash, type Repo } from '../../hub/names.ts'
import { parseHubUrl } from '../../hub/route.ts'
import { MemoryCache as Bounded } from '../../memory.ts'
import type { ClientName } from '../../mirror/context.ts'
import { Invalidations } from '../../mirror/invalidations.ts'
import { addressReader, type ClientLists, clientGate } from '../../server/clients.ts'
import type { Accounts as AccountsOf } from '../../server/request-log.ts'
import { OWN_FIELDS, parseReady, sharedMs } from '../peer.ts'

/** A client that was told by a HEAD where a branch is. */
export interface Pin {
  readonly client: ClientName
  readonly answer: Pick<ReadyAnswer, 'route' | 'commit' | 'status'>
  /** When, by `sharedMs`. */
  readonly at: number
}

export interface MemoryOptions {
  readonly basePath: string
  readonly via: string
  readonly trustProxy: readonly string[]
  readonly clients: ClientLists
  /** For bodies. */
  readonly maxBytes: number
  readonly monotonic: () => number
  readonly accounts: AccountsOf
  readonly tellPins: (pins: readonly Pin[]) => void
}

export interface Memory {
  /** Answers what it can. */
  readonly route: ReadyRoute
  /** The state before a request is handed on: an answer that was on its way while something was forgotten is not kept. */
  readonly generation: number
  /** Listens to an answer that is handed on, and keeps it if the main process says so. */
  learn(request: IncomingMessage, incoming: IncomingMessage, asked: Asked): void
  /** After it nothing of the repo is repeated, and all pins have been told. */
  forget(repo: Repo): void
  /** The same of every repo. */
  forgetAll(): void
  /** Tells the pins that wait. */
  flush(): void
}

/** What the main process says of an answer, and the generation when it was asked. */
interface Asked {
  readonly field: string
  readonly generation: number
}

/** Bodies up to this size are in the memory of the main process, and may be ready there. */
const LARGEST_BYTES = 64 * 1024
/** How long a pin may wait for others. */
const PIN_WAIT_MS = 5
/**
 * So much sooner than the main process stops believing where a branch is, nobody is told here: the GET that follows a
 * HEAD shall find the pin there.
 */
const PIN_MARGIN_MS = 100
/** What belongs to a connection, or is said by each process for itself. */
const NOT_KEPT = new Set(['date', 'connection', 'keep-alive', 'transfer-encoding'])

export function createMemory(options: MemoryOptions): Memory {
  const { monotonic } = options
  const invalidations = new Invalidations()
  const ready = new ReadyAnswers({ monotonic, invalidations })
  const bodies = new Bounded<Buffer>({ maxBytes: options.maxBytes, sizeOf: (body) => body.length })
  const pins = new PinBatch(options.tellPins)
  const route = createReadyRoute({
    ready,
    mirror: {
      // Where there are rules, the main process says of nothing that it may be repeated.
      admitReady: () => '',
      pin(client, { route, commit, status }) {
        if (!isCommitHash(route.revision))
          pins.add({ client, answer: { route, commit, status }, at: sharedMs() })
      },
    },
    // None of the mirror's own tokens is known here: who shows one is for the main process.
    callers: createCallers({
      issued: { list: () => [], refresh: () => Promise.resolve() },
      settings: { hubTokens: new Map() },
      now: Date.now,
    }),
    via: options.via,
    addressOf: addressReader(options.trustProxy),
    isServed: clientGate(options.clients),
    ...options.accounts,
  })

  const keep = (
    request: IncomingMessage,
    incoming: IncomingMessage,
    asked: Asked,
    body: Buffer | undefined,
  ): void => {
    const { method, url = '' } = request
    if (method !== 'GET' && method !== 'HEAD') return
    const answer = answerOf({ method, url }, incoming, asked, options)
    if (answer === undefined) return
    // Never the body of another answer to the same target.
    const name = `${url} ${String(incoming.headers.etag)}`
    if (body !== undefined) bodies.set(name, body)
    ready.remember(method, url, {
      ...answer,
      ...(body === undefined ? {} : { bytes: () => bodies.get(name) }),
    })
  }

  return {
    route,
    get generation() {
      return invalidations.generation
    },
    learn(request, incoming, asked) {
      if (request.method === 'HEAD') {
        keep(request, incoming, asked, undefined)
        return
      }
      const parts: Buffer[] = []
      let size = 0
      incoming.on('data', (part: Buffer) => {
        size += part.length
        if (size <= LARGEST_BYTES) parts.push(part)
      })
      // An answer whose client has left is thrown away unheard, also from its middle on, and ends as if it had been read.
      const announced = Number(incoming.headers['content-length'])
      incoming.once('end', () => {
        if (size === announced && size <= LARGEST_BYTES) keep(request, incoming, asked, Buffer.concat(parts))
      })
    },
    forget(repo) {
      invalidations.invalidate(repo)
      pins.flush()
    },
    forgetAll() {
      invalidations.invalidate('all')
      pins.flush()
    },
    flush: () => pins.flush(),
  }
}

/** An answer as it may be repeated, but for its body; undefined where the main process' word for it cannot be read. */
function answerOf(
  { method, url }: { readonly method: Method; readonly url: string },
  incoming: IncomingMessage,
  { field, generation }: Asked,
  { basePath, monotonic }: Pick<MemoryOptions, 'basePath' | 'monotonic'>,
): ReadyAnswer | undefined {
  // Before the other clock is read: whatever holds this process up between the two shortens what is left.
  const now = monotonic()
  const note = parseReady(field)
  const route = parseHubUrl(url, basePath)
  if (note === undefined || !isCommitHash(note.commit) || route.kind !== 'file') return undefined
  const marginMs = isCommitHash(route.revision) ? 0 : PIN_MARGIN_MS
  return {
    until: now + note.leftMs - marginMs,
    askedAt: note.ageMs === undefined ? undefined : now - note.ageMs,
    generation,
    commit: note.commit,
    route,
    status: incoming.statusCode ?? 0,
    headers: keptFields(incoming.rawHeaders, (name) => isKept(method, name)),
  }
}

function isKept(method: Method, name: string): boolean {
  return !NOT_KEPT.has(name) && !isSaidOnce(method, name) && !name.startsWith(OWN_FIELDS)
}

class PinBatch {
  readonly #tell: (pins: readonly Pin[]) => void
  #pins: Pin[] = []
  #timer: NodeJS.Timeout | undefined

  constructor(tell: (pins: readonly Pin[]) => void) {
    this.#tell = tell
  }

  add(pin: Pin): void {
    this.#pins.push(pin)
    this.#timer ??= setTimeout(() => this.flush(), PIN_WAIT_MS)
  }

  flush(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#pins.length === 0) return
    const pins = this.#pins
    this.#pins = []
    this.#tell(pins)
  }
}
