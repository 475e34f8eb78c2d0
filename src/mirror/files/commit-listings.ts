// What listings say of the files of a commit, so that a file needs no question of its own. Listings come from clients that
// ask for them, as they pass. Where clients ask for one file after another, the mirror reads the listing itself, page by page
// and no faster than files are requested. What the Hub has sent of a repo that is not public is kept for that credential alone,
// and in memory only, as everything here. What listings say is a claim: `distrust` drops it when the Hub says otherwise. Who may
// see it is decided by `listed-files.ts`.

import { type ListedFile, ListingReader } from '../../hub/listing.ts'
import { apiPath, type CommitHash, type Repo, repoKey } from '../../hub/names.ts'
import type { FileRoute } from '../../hub/route.ts'
import { MemoryCache, textBytes } from '../../memory.ts'
import type { OriginClient } from '../../origin/client.ts'
import type { Observer } from '../../telemetry/observer.ts'
import type { Ctx } from '../context.ts'
import type { DocumentRoute } from '../documents/hub-documents.ts'
import type { Invalidations } from '../invalidations.ts'
import { yieldToEventLoop } from '../turns.ts'
import { ListingIndex, type PackedFiles, type Place, pack, SEGMENT_FILES } from './listing-index.ts'

export type TreeRoute = Extract<DocumentRoute, { repo: Repo }>

/** Distinct files of one commit after which the mirror asks for the listing: a load of one model takes fewer from most repos. */
const MANY = 3
/** All commits together. A file takes some 40 bytes and its path. */
const MEMORY_BYTES = 64 * 1024 * 1024
/** One commit. Files beyond it are asked for one by one. */
const MAX_COMMIT_BYTES = 32 * 1024 * 1024
/** Commits whose listing was wrong. */
const DISTRUSTED_BYTES = 1024 * 1024
/** Items that are read without a pause: less than a millisecond. */
const ITEMS_PER_TURN = 200
/** After a page that could not be read, the Hub is asked about single files for this long. */
const PAUSE_MS = 60_000
/** Requested files that the listing has not named so far, after which its next page is read. */
const MISSES_PER_PAGE = 3
/** Pages and other documents of one commit. The Hub has 1000 entries in a page. */
const MAX_DOCUMENTS = 2000

/** A commit, and who may use what its listing says. */
export interface ListedCommit {
  readonly repo: Repo
  readonly commit: CommitHash
  /** Undefined for a public repo. Else the fingerprint of the credential to which the Hub has sent the listing. */
  readonly owner?: string | undefined
}

/** A document that describes files of one commit. */
interface ListingDocument extends ListedCommit {
  /** Different for each document: requests with a body have the same target. */
  readonly name: string
}

/** A file in the listing of a commit. */
export interface Found {
  readonly file: ListedFile
  readonly place: Place
}

/** What is known of one commit, or of requests for a branch whose commit is not known yet. */
interface Listing {
  readonly index: ListingIndex
  /** The first paths that were requested, up to MANY. */
  readonly requested: Set<string>
  /** The names of what was learnt. */
  readonly documents: Set<string>
  /** How many files were requested that the listing names. */
  hits: number
  /** How many files were requested since the last page that the listing does not name. */
  misses: number
  /** The page that the mirror reads next. Undefined before the first page, and after the last one. */
  next: TreeRoute | undefined
  hasBegun: boolean
  reading: Promise<void> | undefined
  pausedUntil: number
}

export class CommitListings {
  readonly #client: Pick<OriginClient, 'hasSpareQuota' | 'url'>
  readonly #observer: Pick<Observer, 'listingDistrusted'>
  readonly #monotonic: () => number
  readonly #readPage: (
    ctx: Ctx,
    route: TreeRoute,
    owner: string | undefined,
  ) => Promise<{ readonly next: TreeRoute | undefined } | undefined>
  readonly #listings = new MemoryCache<Listing>({
    maxBytes: MEMORY_BYTES,
    sizeOf: ({ index, requested, documents }) =>
      1000 + index.bytes + textBytes(...requested, ...documents) + documents.size * 50,
  })
  readonly #distrusted = new MemoryCache<number>({ maxBytes: DISTRUSTED_BYTES })

  constructor(options: {
    readonly client: Pick<OriginClient, 'hasSpareQuota' | 'url'>
    readonly observer: Pick<Observer, 'listingDistrusted'>
    readonly monotonic: () => number
    readonly invalidations: Pick<Invalidations, 'onRemoved'>
    /**
     * Reads one page of a listing, and calls `learn` with it: without a credential, or with that of `ctx` for its `owner`. Resolves to
     * the page behind it, or to undefined when there is no such page. Must not reject.
     */
    readonly readPage: (
      ctx: Ctx,
      route: TreeRoute,
      owner: string | undefined,
    ) => Promise<{ readonly next: TreeRoute | undefined } | undefined>
  }) {
    this.#client = options.client
    this.#observer = options.observer
    this.#monotonic = options.monotonic
    this.#readPage = options.readPage
    options.invalidations.onRemoved(() => this.#listings.clear())
  }

  /**
   * Counts a request for a file. Returns whether enough different files of the commit were requested that its listing is worth a
   * request. Without `commit`, requests are counted by the revision until its commit is known. `owner` is as in ListedCommit.
   */
  count({ repo, revision, path }: FileRoute, commit: CommitHash | undefined, owner?: string): boolean {
    const key = keyOf(repo, commit ?? revision, owner)
    const known = this.#listings.get(key)
    const listing = known ?? newListing()
    const { requested } = listing
    const before = requested.size
    if (commit !== undefined && commit !== revision) {
      const unnamed = this.#listings.peek(keyOf(repo, revision, owner))
      if (unnamed !== undefined) this.#listings.delete(keyOf(repo, revision, owner))
      for (const each of unnamed?.requested ?? []) requested.add(each)
    }
    if (requested.size < MANY) requested.add(path)
    if (known === undefined || requested.size > before) this.#keep(key, listing)
    return requested.size >= MANY
  }

  /** The files of a commit in the order of its listing. */
  index(of: ListedCommit): ListingIndex | undefined {
    return this.#listings.get(keyOfCommit(of))?.index
  }

  /**
   * What the listing says of a file, as far as it is known. Counts the file as requested. With `mayRead` the mirror reads the
   * listing: the caller waits for its first page, and never for another one. Further pages are read as long as requests come near
   * their files. Never rejects.
   */
  async request(ctx: Ctx, of: ListedCommit, path: string, mayRead: boolean): Promise<Found | undefined> {
    const key = keyOfCommit(of)
    const listing = this.#listings.get(key)
    if (listing === undefined || this.#distrusted.has(key)) return undefined
    let found = find(listing, path)
    if (found === undefined && mayRead) {
      listing.misses += 1
      const isFirst = !listing.hasBegun || (listing.reading !== undefined && listing.index.files === 0)
      if (isFirst || listing.misses >= MISSES_PER_PAGE) this.#read(ctx, key, listing, of)
      if (isFirst) await listing.reading
      found = find(listing, path)
    }
    if (found !== undefined && listing.index.request(found.place)) {
      listing.hits += 1
      // Half of what is known was requested: more is likely to follow.
      if (listing.next !== undefined && listing.hits * 2 >= listing.index.files)
        this.#read(ctx, key, listing, of)
    }
    return found
  }

  /** Records that a client has received what the listing says of a file, by a HEAD alone. */
  announce(of: ListedCommit, { place }: Found): void {
    this.#listings.get(keyOfCommit(of))?.index.announce(place)
  }

  /** Whether `announce` was called for the file. */
  isAnnounced(of: ListedCommit, { place }: Found): boolean {
    return this.#listings.get(keyOfCommit(of))?.index.isAnnounced(place) === true
  }

  /** The Hub contradicts the listing. Nothing of it is used any more, and no other of this commit. */
  distrust(of: ListedCommit): void {
    const key = keyOfCommit(of)
    if (this.#distrusted.has(key)) return
    this.#distrusted.set(key, 1)
    this.#listings.delete(key)
    this.#observer.listingDistrusted()
  }

  /** Whether `learn` was called for the document, and what it said is still known. */
  hasLearnt(document: ListingDocument): boolean {
    return this.#listings.peek(keyOfCommit(document))?.documents.has(document.name) === true
  }

  /**
   * Learns what a document says of the files of a commit. `body` must be valid JSON,
   * and `items` the place of the list in it. Reads in small steps, and adds all files at its end or none.
   */
  async learn(
    document: ListingDocument,
    body: Buffer,
    [start, end]: readonly [start: number, end: number],
  ): Promise<void> {
    const key = keyOfCommit(document)
    if (this.#distrusted.has(key)) return
    const listing = this.#listings.get(key) ?? newListing()
    const { index, documents } = listing
    if (documents.has(document.name) || documents.size >= MAX_DOCUMENTS) return
    documents.add(document.name)
    this.#keep(key, listing)
    const reader = new ListingReader(body, start, end)
    const segments: PackedFiles[] = []
    let bytes = index.bytes
    let files: ListedFile[] = []
    const packed = (): void => {
      const segment = pack(files)
      segments.push(segment)
      bytes += segment.bytes.length
      files = []
    }
    for (;;) {
      const read = reader.read(ITEMS_PER_TURN)
      if (read === undefined || bytes > MAX_COMMIT_BYTES) break
      for (const file of read) if (index.files === 0 || index.find(file.path) === undefined) files.push(file)
      if (files.length + ITEMS_PER_TURN > SEGMENT_FILES) packed()
      await yieldToEventLoop()
    }
    if (files.length > 0) packed()
    if (this.#distrusted.has(key)) return
    for (const segment of segments) index.add(segment)
    this.#keep(key, listing)
  }

  /** The cache does not measure an object again that it holds already. */
  #keep(key: string, listing: Listing): void {
    this.#listings.delete(key)
    this.#listings.set(key, listing)
  }

  /** Begins to read the next page, unless one is being read. */
  #read(ctx: Ctx, key: string, listing: Listing, { repo, commit, owner }: ListedCommit): void {
    const route = listing.hasBegun ? listing.next : firstPage(repo, commit)
    if (route === undefined || listing.reading !== undefined) return
    if (this.#monotonic() < listing.pausedUntil || listing.index.bytes >= MAX_COMMIT_BYTES) return
    const authorization = owner === undefined ? undefined : ctx.authorization
    if (!this.#client.hasSpareQuota({ url: this.#client.url(route.target), authorization })) return
    listing.hasBegun = true
    listing.misses = 0
    listing.reading = this.#readPage(ctx, route, owner).then((page) => {
      listing.reading = undefined
      if (page === undefined) {
        listing.pausedUntil = this.#monotonic() + PAUSE_MS
        listing.next = route
        return
      }
      const { next } = page
      const isSame = next === undefined || (next.revision === commit && next.target !== route.target)
      listing.next = isSame ? next : undefined
      if (!this.#distrusted.has(key)) this.#keep(key, listing)
    })
  }
}

function newListing(): Listing {
  return {
    index: new ListingIndex(),
    requested: new Set(),
    documents: new Set(),
    hits: 0,
    misses: 0,
    next: undefined,
    hasBegun: false,
    reading: undefined,
    pausedUntil: 0,
  }
}

function find({ index }: Listing, path: string): Found | undefined {
  const place = index.find(path)
  const file = place && index.at(place)
  return file && place && { file, place }
}

/** The request of clients that list a whole commit, in its canonical spelling, so that one answer serves both. */
function firstPage(repo: Repo, commit: CommitHash): TreeRoute {
  const target = `${apiPath(repo)}/tree/${commit}?recursive=true`
  return { kind: 'document', document: 'tree', repo, revision: commit, target, immutable: true }
}

function keyOfCommit({ repo, commit, owner }: ListedCommit): string {
  return keyOf(repo, commit, owner)
}

function keyOf(repo: Repo, revision: string, owner = ''): string {
  return `${owner} ${repoKey(repo)} ${revision}`
}
