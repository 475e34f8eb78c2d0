// Fetches small files of a public commit before the client that takes a snapshot requests them: those that follow in the order of
// the listing, by the same download that a request would start or join. Never in the last tenth of a quota. Left out are private
// repos, callers with a limit of their own, and callers about whom rules or token scopes decide: those decide file by file.

import { type CommitHash, type Repo, repoKey } from '../../hub/names.ts'
import { type FileRoute, resolveTarget } from '../../hub/route.ts'
import { MemoryCache } from '../../memory.ts'
import type { OriginClient } from '../../origin/client.ts'
import { SHORT_BODY_BYTES } from '../../origin/connections/body-buffers.ts'
import type { Observer } from '../../telemetry/observer.ts'
import type { Access } from '../access/access.ts'
import type { Ctx } from '../context.ts'
import type { CommitListings, Found } from './commit-listings.ts'
import type { Place } from './listing-index.ts'

/** Requests near each other in the order of the listing, after which the client counts as taking a snapshot. */
const RUN = 8
/** How far apart in that order the requests of one snapshot may be. Clients have some 8 to 64 workers. */
const NEAR = 64
/** Files that may lie ahead of the requests of one commit, and their bytes. */
const MAX_AHEAD = 96
const MAX_AHEAD_BYTES = 16 * 1024 * 1024
/** Downloads ahead of requests at the same time, for all commits. Half of the connections stay free for callers. */
const MAX_PARALLEL = 24
/** Snapshots that are followed at the same time. One that is evicted begins again. */
const STREAMS_BYTES = 4 * 1024 * 1024
const STREAM_BYTES = 16 * 1024

/** The requests for files of one commit. */
interface Stream {
  /** How many requests in a row came near each other. */
  run: number
  /** The place of the last one. */
  position: number
  /** The place from which files are read ahead. */
  next: number
  /** Endings of the names of requested files. */
  readonly endings: Set<string>
  /** Sizes of what was read ahead and not requested yet, by place. */
  readonly ahead: Map<number, number>
  aheadBytes: number
}

export interface ReadAheadOptions {
  readonly client: OriginClient
  readonly access: Access
  readonly listings: CommitListings
  readonly observer: Pick<Observer, 'readAhead' | 'readAheadUsed'>
  /** False where each caller may make the mirror fetch only so much. Read at each use. */
  readonly isOn: () => boolean
  /** Stores a file that is not stored. Resolves to whether it was fetched for this. */
  readonly fetch: (ctx: Ctx, route: FileRoute, found: Found, commit: CommitHash) => Promise<boolean>
}

export class ReadAhead {
  readonly #options: ReadAheadOptions
  readonly #streams = new MemoryCache<Stream>({ maxBytes: STREAMS_BYTES, sizeOf: () => STREAM_BYTES })
  #running = 0

  constructor(options: ReadAheadOptions) {
    this.#options = options
  }

  /** A caller that may read the file has sent a GET for it. Returns at once. */
  requested(ctx: Ctx, { repo, path }: FileRoute, commit: CommitHash): void {
    const { access, listings, isOn } = this.#options
    if (!isOn() || ctx.admission !== undefined) return
    const index = listings.index({ repo, commit })
    const place = index?.find(path)
    if (index === undefined || place === undefined || access.publicUntil(repo) === undefined) return
    index.request(place)
    const stream = this.#follow(`${repoKey(repo)} ${commit}`, index.orderOf(place))
    if (stream.endings.size < 8) stream.endings.add(endingOf(path))
    if (stream.run >= RUN) this.#pump(ctx, repo, commit, stream)
  }

  /** Whether what this caller gets of the commit is shared. The request that this follows has asked for a proof, if need be. */
  #mayRead(ctx: Ctx, repo: Repo, commit: CommitHash): boolean {
    const { access } = this.#options
    if (access.publicUntil(repo) === undefined) return false
    return ctx.authorization === undefined || access.coversSeen(repo, commit)
  }

  #follow(key: string, order: number): Stream {
    const stream = this.#streams.get(key) ?? newStream(order)
    this.#streams.set(key, stream)
    const size = stream.ahead.get(order)
    if (size !== undefined) {
      this.#options.observer.readAheadUsed()
      drop(stream, order, size)
    }
    const isNear = Math.abs(order - stream.position) <= NEAR || size !== undefined
    stream.run = isNear ? Math.min(RUN, stream.run + 1) : 1
    stream.position = isNear ? Math.max(stream.position, order) : order
    if (!isNear) {
      stream.next = order + 1
      stream.endings.clear()
    }
    stream.next = Math.max(stream.next, stream.position + 1)
    // What the client has passed by is not requested any more.
    for (const [passed, bytes] of stream.ahead) {
      if (passed >= stream.position - NEAR) break
      drop(stream, passed, bytes)
    }
    return stream
  }

  #pump(ctx: Ctx, repo: Repo, commit: CommitHash, stream: Stream): void {
    const { client, listings } = this.#options
    const index = listings.index({ repo, commit })
    if (index === undefined) return
    const end = Math.min(index.files, stream.position + 1 + MAX_AHEAD)
    while (this.#running < MAX_PARALLEL && stream.next < end) {
      if (stream.ahead.size >= MAX_AHEAD || stream.aheadBytes >= MAX_AHEAD_BYTES) return
      const order = stream.next
      const place = index.placeAt(order)
      const file = place && index.at(place)
      stream.next += 1
      if (place === undefined || file === undefined || index.isRequested(place)) continue
      const { path, sizeBytes } = file
      if (sizeBytes === 0 || sizeBytes > SHORT_BODY_BYTES || !stream.endings.has(endingOf(path))) continue
      const url = client.url(resolveTarget(repo, commit, path))
      if (!this.#mayRead(ctx, repo, commit) || client.isRecentlyUnreachable()) return
      if (!client.hasSpareQuota({ url, authorization: ctx.authorization })) return
      stream.ahead.set(order, sizeBytes)
      stream.aheadBytes += sizeBytes
      void this.#fetch(ctx, { repo, commit, stream, order }, { file, place })
    }
  }

  async #fetch(
    ctx: Ctx,
    at: { readonly repo: Repo; readonly commit: CommitHash; readonly stream: Stream; readonly order: number },
    found: Found & { readonly place: Place },
  ): Promise<void> {
    const { repo, commit, stream } = at
    const { path, sizeBytes } = found.file
    this.#running += 1
    try {
      const route = { kind: 'file', repo, revision: commit, path, via: 'resolve', download: false } as const
      // The request that this follows may end at any time. It has been answered, and noted, by itself.
      const own = {
        ...ctx,
        signal: new AbortController().signal,
        countAgainstLimit: undefined,
        originRequests: { count: 0 },
        access: {},
      }
      if (await this.#options.fetch(own, route, found, commit)) this.#options.observer.readAhead(sizeBytes)
      else drop(stream, at.order, sizeBytes)
    } catch {
      // The request for the file will see what is wrong.
      drop(stream, at.order, sizeBytes)
    } finally {
      this.#running -= 1
    }
    this.#pump(ctx, repo, commit, stream)
  }
}

function newStream(order: number): Stream {
  return { run: 0, position: order, next: order + 1, endings: new Set(), ahead: new Map(), aheadBytes: 0 }
}

function drop(stream: Stream, order: number, bytes: number): void {
  if (stream.ahead.delete(order)) stream.aheadBytes -= bytes
}

function endingOf(path: string): string {
  const name = path.slice(path.lastIndexOf('/') + 1)
  const dot = name.lastIndexOf('.')
  return dot === -1 ? '' : name.slice(dot).slice(0, 32).toLowerCase()
}
