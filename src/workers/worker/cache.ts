// The answers that a worker may repeat without asking the main process: those that the main process has marked as the same
// for every caller, until their time is over or the main process invalidates them. Nothing is decided here.

import type { IncomingMessage } from 'node:http'
import { createCallers } from '../../callers/caller.ts'
import { type CachedRoute, createCachedRoute } from '../../fast-path/cached-route.ts'
import {
  type CachedResponse,
  type Method,
  ResponseCache,
  variesByResponse,
} from '../../fast-path/response-cache.ts'
import { keptFields } from '../../http/headers.ts'
import { isCommitHash, type Repo } from '../../hub/names.ts'
import { parseHubUrl } from '../../hub/route.ts'
import { MemoryCache as Bounded } from '../../memory.ts'
import type { ClientName } from '../../mirror/context.ts'
import { Invalidations } from '../../mirror/invalidations.ts'
import { addressReader, type ClientLists, clientGate } from '../../server/clients.ts'
import type { RequestReporters } from '../../server/request-log.ts'
import { OWN_FIELDS, parseCacheNote, sharedMs } from '../header-fields.ts'

/** A commit that a client was given as that of a branch, by the answer to a HEAD. */
export interface PromisedCommit {
  readonly client: ClientName
  readonly answer: Pick<CachedResponse, 'route' | 'commit' | 'status'>
  /** The time of the answer, by `sharedMs`. */
  readonly at: number
}

export interface WorkerCacheOptions {
  readonly basePath: string
  readonly via: string
  readonly trustProxy: readonly string[]
  readonly clients: ClientLists
  /** Bound of the memory for bodies. */
  readonly maxBytes: number
  readonly monotonic: () => number
  readonly reporters: RequestReporters
  readonly reportPromises: (promises: readonly PromisedCommit[]) => void
}

export interface WorkerCache {
  /** Answers from the cache. */
  readonly route: CachedRoute
  /** Read before a request is forwarded. If it has changed when the answer comes, the answer is not cached. */
  readonly generation: number
  /** Reads along an answer that is forwarded, and caches it when it has come whole. */
  learn(request: IncomingMessage, incoming: IncomingMessage, noted: Noted): void
  /** Drops all answers about the repo, and reports all promised commits. */
  invalidate(repo: Repo): void
  /** The same for all repos. */
  invalidateAll(): void
  /** Reports the promised commits that wait. */
  flush(): void
}

/** The note that the main process sent with an answer, and the generation when it was noted. */
interface Noted {
  readonly field: string
  readonly generation: number
}

/** Larger bodies are not in the memory of the main process, and come without a note. */
const LARGEST_BYTES = 64 * 1024
/** How long a promised commit may wait for others. */
const PROMISE_WAIT_MS = 5
/**
 * Workers expire cached HEADs of a branch this much before the main process does. So the commit that a HEAD has promised is
 * recorded there before the GET that follows it.
 */
const PROMISE_MARGIN_MS = 100
/** Fields of one connection only, and those that each process sets itself. */
const NOT_CACHED = new Set(['date', 'connection', 'keep-alive', 'transfer-encoding'])

export function createWorkerCache(options: WorkerCacheOptions): WorkerCache {
  const { monotonic } = options
  const invalidations = new Invalidations()
  const responses = new ResponseCache({ monotonic, invalidations })
  const bodies = new Bounded<Buffer>({ maxBytes: options.maxBytes, sizeOf: (body) => body.length })
  const promises = new PromiseBatch(options.reportPromises)
  const route = createCachedRoute({
    cache: responses,
    mirror: {
      // While there are rules, the main process sends no notes.
      admitCached: () => '',
      recordHeadCommit(client, { route, commit, status }) {
        if (!isCommitHash(route.revision))
          promises.add({ client, answer: { route, commit, status }, at: sharedMs() })
      },
    },
    // Workers know none of the mirror's own tokens. A request that shows one is forwarded.
    callers: createCallers({
      issued: { list: () => [], refresh: () => Promise.resolve() },
      settings: { hubTokens: new Map() },
      now: Date.now,
    }),
    via: options.via,
    addressOf: addressReader(options.trustProxy),
    isServed: clientGate(options.clients),
    ...options.reporters,
  })

  const keep = (
    request: IncomingMessage,
    incoming: IncomingMessage,
    noted: Noted,
    body: Buffer | undefined,
  ): void => {
    const { method, url = '' } = request
    if (method !== 'GET' && method !== 'HEAD') return
    const answer = answerOf({ method, url }, incoming, noted, options)
    if (answer === undefined) return
    // The etag keeps bodies of several answers to the same target apart.
    const name = `${url} ${String(incoming.headers.etag)}`
    if (body !== undefined) bodies.set(name, body)
    responses.set(method, url, {
      ...answer,
      ...(body === undefined ? {} : { bytes: () => bodies.get(name) }),
    })
  }

  return {
    route,
    get generation() {
      return invalidations.generation
    },
    learn(request, incoming, noted) {
      if (request.method === 'HEAD') {
        keep(request, incoming, noted, undefined)
        return
      }
      const parts: Buffer[] = []
      let size = 0
      incoming.on('data', (part: Buffer) => {
        size += part.length
        if (size <= LARGEST_BYTES) parts.push(part)
      })
      // When the client has left, the rest of the answer is discarded unseen, and still ends like a complete one.
      const announced = Number(incoming.headers['content-length'])
      incoming.once('end', () => {
        if (size === announced && size <= LARGEST_BYTES) keep(request, incoming, noted, Buffer.concat(parts))
      })
    },
    invalidate(repo) {
      invalidations.invalidate(repo)
      promises.flush()
    },
    invalidateAll() {
      invalidations.invalidate('all')
      promises.flush()
    },
    flush: () => promises.flush(),
  }
}

/** An answer without its body, as it may be repeated. Returns undefined when the note cannot be read. */
function answerOf(
  { method, url }: { readonly method: Method; readonly url: string },
  incoming: IncomingMessage,
  { field, generation }: Noted,
  { basePath, monotonic }: Pick<WorkerCacheOptions, 'basePath' | 'monotonic'>,
): CachedResponse | undefined {
  // Read before the other clock: a pause of this process between the two then shortens the time that is left.
  const now = monotonic()
  const note = parseCacheNote(field)
  const route = parseHubUrl(url, basePath)
  if (note === undefined || !isCommitHash(note.commit) || route.kind !== 'file') return undefined
  const marginMs = isCommitHash(route.revision) ? 0 : PROMISE_MARGIN_MS
  return {
    until: now + note.leftMs - marginMs,
    askedAt: note.ageMs === undefined ? undefined : now - note.ageMs,
    generation,
    commit: note.commit,
    route,
    status: incoming.statusCode ?? 0,
    headers: keptFields(incoming.rawHeaders, (name) => isCached(method, name)),
  }
}

function isCached(method: Method, name: string): boolean {
  return !NOT_CACHED.has(name) && !variesByResponse(method, name) && !name.startsWith(OWN_FIELDS)
}

/** Collects promised commits for a few milliseconds, since a message costs more than an entry. */
class PromiseBatch {
  readonly #report: (promises: readonly PromisedCommit[]) => void
  #promises: PromisedCommit[] = []
  #timer: NodeJS.Timeout | undefined

  constructor(report: (promises: readonly PromisedCommit[]) => void) {
    this.#report = report
  }

  add(promise: PromisedCommit): void {
    this.#promises.push(promise)
    this.#timer ??= setTimeout(() => this.flush(), PROMISE_WAIT_MS)
  }

  flush(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#promises.length === 0) return
    const promises = this.#promises
    this.#promises = []
    this.#report(promises)
  }
}
