// Describes a file by the listing of its commit, so that the Hub need not be asked about it. Only for a commit that is known, and
// where the rules let the mirror store what it learns. The repo must be proved public. Of another repo a caller gets what the Hub
// has sent to its own credential, as long as the Hub has shown it a file of the same commit a moment ago, and only of files
// that are not stored: bytes of such a repo come from the Hub's answer to that credential. What a listing says is a claim until
// an answer of the Hub about the file itself agrees with it: only then does the file become a fact, or a grant.

import { MirrorError } from '../../errors.ts'
import { blobKeyOf, type FileMeta } from '../../hub/file-meta.ts'
import { contentTypeOf } from '../../hub/listing.ts'
import { type CommitHash, type Repo, repoKey } from '../../hub/names.ts'
import { type FileRoute, resolveCacheTarget } from '../../hub/route.ts'
import type { OriginClient } from '../../origin/client.ts'
import type { SignedUrls } from '../../origin/files/signed-urls.ts'
import type { Observer } from '../../telemetry/observer.ts'
import type { Access } from '../access/access.ts'
import { noteAllowed } from '../access/note.ts'
import { proveCommit } from '../access/public.ts'
import type { Contents } from '../content.ts'
import type { Ctx } from '../context.ts'
import type { FileFact } from '../metadata/files.ts'
import type { Metadata } from '../metadata/metadata.ts'
import { within } from '../turns.ts'
import type { CommitListings, Found, ListedCommit } from './commit-listings.ts'
import type { Grants } from './grants.ts'
import { type Claim, type ResolvedFile, urlName } from './resolved.ts'
import type { ServedFiles } from './served-files.ts'

/** A request waits this long at most for the first answer about its branch to another request. */
const MAX_WAIT_MS = 3_000

export interface ListedFilesOptions {
  readonly client: OriginClient
  readonly metadata: Metadata
  readonly access: Access
  readonly listings: CommitListings
  readonly grants: Pick<Grants, 'add' | 'coversCommit' | 'fresh'>
  readonly served: Pick<ServedFiles, 'add'>
  readonly contents: Pick<Contents, 'isStored'>
  readonly urls: SignedUrls
  readonly observer: Observer
  readonly settings: { readonly refTtlMs: number }
  readonly monotonic: () => number
}

/** The place of a request among those for the same revision. */
export interface Turn {
  /** Settles when the request that goes first is answered; undefined for that one itself. */
  readonly first: Promise<void> | undefined
  leave(): void
}

interface SeenRef {
  readonly commit: CommitHash
  readonly fresh: boolean
  readonly at?: number
}

export class ListedFiles {
  readonly #options: ListedFilesOptions
  // By repo and revision, the request that goes first.
  readonly #first = new Map<string, Promise<void>>()
  // Whether the origin was seen to send small files from their pinned address.
  #pinsFiles = false

  constructor(options: ListedFilesOptions) {
    this.#options = options
  }

  /** The file as the listing of its commit describes it. Undefined when the Hub must be asked. Never rejects. */
  async find(
    ctx: Ctx,
    route: FileRoute,
    method: 'GET' | 'HEAD',
    seen: SeenRef | undefined,
    { first }: Turn,
  ): Promise<ResolvedFile | undefined> {
    const { access, listings, metadata, settings, observer, monotonic } = this.#options
    const { repo, revision, path } = route
    if (ctx.admission?.mayStore(undefined) === false) return undefined
    if (access.verdict(repo) === 'restricted') return this.#findRestricted(ctx, route, method, seen)
    const startedAt = monotonic()
    let ref = seen
    let isMany = listings.count(route, ref?.fresh === true ? ref.commit : undefined)
    if (isMany && first !== undefined && (ref?.fresh !== true || access.publicUntil(repo) === undefined)) {
      await within(MAX_WAIT_MS, first)
      if (ref?.fresh !== true) {
        ref = metadata.refs.inMemory(repo, revision, settings.refTtlMs)
        isMany = listings.count(route, ref?.fresh === true ? ref.commit : undefined)
      }
    }
    if (ref?.fresh !== true) return undefined
    if (access.publicUntil(repo) === undefined && isMany) await access.proving(repo)
    if (access.publicUntil(repo) === undefined) return undefined
    const askedAt = ref.at ?? startedAt
    if (!(await proveCommit(ctx, { repo, commit: ref.commit, askedAt }, this.#options))) return undefined
    const of = { repo, commit: ref.commit }
    const found = await listings.request(ctx, of, path, isMany)
    // Meanwhile the Hub may have refused the repo. An empty file has no answer with bytes that could confirm it.
    if (found === undefined || access.publicUntil(repo) === undefined) return undefined
    if (method === 'GET' && found.file.sizeBytes === 0) return undefined
    observer.listingUsed()
    return this.#described(ctx, route, method, { found, of, askedAt: ref.at })
  }

  /** The same for a repo that is not public. The Hub must be asked when the caller has no right that counts, or the file is stored. */
  async #findRestricted(
    ctx: Ctx,
    route: FileRoute,
    method: 'GET' | 'HEAD',
    ref: SeenRef | undefined,
  ): Promise<ResolvedFile | undefined> {
    const { access, client, contents, grants, listings, observer, urls } = this.#options
    const { repo, path } = route
    if (ref?.fresh !== true || grants.fresh(ctx, route) !== undefined) return undefined
    const of = { repo, commit: ref.commit, owner: ctx.fingerprint }
    if (!grants.coversCommit(ctx, repo, of.commit)) return undefined
    const isMany = listings.count(route, of.commit, of.owner)
    const found = await listings.request(ctx, of, path, isMany)
    if (found === undefined || (method === 'GET' && found.file.sizeBytes === 0)) return undefined
    const { meta, key } = this.#metaOf(route, found, of.commit)
    if (await contents.isStored(key, meta.sizeBytes)) return undefined
    // A signed address opens the bytes without a question to the Hub.
    if (method === 'GET' && urls.get(urlName(ctx, repo, of.commit, path)) !== undefined) return undefined
    // Meanwhile the Hub may have refused the caller, or may have gone.
    if (!grants.coversCommit(ctx, repo, of.commit) || access.verdict(repo) !== 'restricted') return undefined
    if (client.isRecentlyUnreachable()) return undefined
    observer.listingUsed()
    return this.#described(ctx, route, method, { found, of, askedAt: ref.at })
  }

  /**
   * To be called before a file is resolved; the result is for `find`. Its `leave` must be called when the file is resolved or has
   * failed. One request for each revision goes first, and others may wait for what it learns of the revision.
   */
  enter({ repo, revision }: FileRoute): Turn {
    const name = `${repoKey(repo)} ${revision}`
    const first = this.#first.get(name)
    if (first !== undefined) return { first, leave: () => undefined }
    let settle = (): void => undefined
    this.#first.set(name, new Promise((resolve) => (settle = resolve)))
    const leave = (): void => {
      this.#first.delete(name)
      settle()
    }
    return { first: undefined, leave }
  }

  /** The Hub has sent a file from this address. */
  notePinned({ pathname }: URL): void {
    this.#pinsFiles ||= pathname.includes('/api/resolve-cache/')
  }

  /** The file of a public repo for a download that no client has requested: as for a GET. */
  describe(ctx: Ctx, route: FileRoute, found: Found, commit: CommitHash): ResolvedFile {
    return this.#described(ctx, route, 'GET', { found, of: { repo: route.repo, commit }, askedAt: undefined })
  }

  #described(
    ctx: Ctx,
    route: FileRoute,
    method: 'GET' | 'HEAD',
    known: { readonly found: Found; readonly of: ListedCommit; readonly askedAt: number | undefined },
  ): ResolvedFile {
    const { listings, monotonic } = this.#options
    const { repo, path } = route
    const { found, of, askedAt } = known
    const { commit } = of
    const isPublic = of.owner === undefined
    const { meta, key } = this.#metaOf(route, found, commit)
    const mayStore = ctx.admission?.mayStore(meta.sizeBytes) !== false
    noteAllowed(ctx.access, isPublic ? 'public' : 'remembered')
    const file = {
      kind: 'file',
      meta,
      key,
      isPublic: Promise.resolve(isPublic),
      mayStore,
      outcome: 'hit',
      ...(askedAt === undefined ? {} : { ageMs: monotonic() - askedAt }),
    } as const
    if (method === 'HEAD') {
      listings.announce(of, found)
      return file
    }
    // The Hub sends files of other repos at the usual address.
    if (this.#pinsFiles && !meta.lfs && isPublic) this.#pin(ctx, repo, commit, path)
    return { ...file, claim: this.#claim(ctx, route, file, { ...known, askedAt: askedAt ?? monotonic() }) }
  }

  #metaOf(
    { repo, path }: FileRoute,
    { file: { etag, sizeBytes, lfs } }: Found,
    commit: CommitHash,
  ): Pick<ResolvedFile, 'meta' | 'key'> {
    const contentType = lfs ? undefined : contentTypeOf(path)
    const meta = { commit, etag, sizeBytes, lfs, ...(contentType === undefined ? {} : { contentType }) }
    return { meta, key: blobKeyOf(meta, { origin: this.#options.client.policy.base.href, repo, path }) }
  }

  /** The Hub would redirect to this address. Where it does not have the file there, it is asked at the usual one. */
  #pin(ctx: Ctx, repo: Repo, commit: CommitHash, path: string): void {
    const { client, urls } = this.#options
    const name = urlName(ctx, repo, commit, path)
    if (repo.type === 'kernel' || !repo.id.includes('/') || urls.get(name) !== undefined) return
    urls.set(name, client.url(resolveCacheTarget(repo, commit, path)), undefined)
  }

  #claim(
    ctx: Ctx,
    route: FileRoute,
    { meta, key, mayStore }: Pick<ResolvedFile, 'meta' | 'key' | 'mayStore'>,
    { found, of, askedAt }: { readonly found: Found; readonly of: ListedCommit; readonly askedAt: number },
  ): Claim {
    const { metadata, listings } = this.#options
    const { repo, path } = route
    const { commit, owner } = of
    let state: 'open' | 'confirmed' | 'refuted' = 'open'
    const isConfirmed = async (): Promise<boolean> => {
      if (state !== 'open' || owner !== undefined) return state === 'confirmed'
      // Another request for the same file may have started the download.
      const fact = await metadata.files.get(repo, commit, path)
      return fact?.kind === 'present' && fact.key === key
    }
    const announced = listings.isAnnounced(of, found)
    const refuted = (): void => {
      if (state !== 'open') return
      state = 'refuted'
      listings.distrust(of)
    }
    return {
      refuted,
      settle(asked) {
        if (asked.kind === 'file' && asked.key === key && asked.meta.sizeBytes === meta.sizeBytes) return
        refuted()
        if (asked.kind === 'file' && announced) throw new MirrorError('integrity_mismatch')
      },
      confirmed: (url, contentType) => {
        this.notePinned(url)
        if (state !== 'open') return
        state = 'confirmed'
        // What the Hub says of the type counts. Another request may be answered by this fact already.
        const confirmed: FileMeta = contentType === undefined ? meta : { ...meta, contentType }
        const fact = { kind: 'present', meta: confirmed, key } as const
        if (owner !== undefined) this.#grant(ctx, route, fact, askedAt)
        else if (mayStore) metadata.files.set(repo, commit, path, fact)
      },
      async holds(body) {
        if (body.kind === 'none') {
          listings.announce(of, found)
          return true
        }
        // Its first chunk is taken by the sender, which then fails as the source does.
        if (body.kind === 'stream') return true
        if (body.kind === 'source' && body.source.blob === undefined) {
          try {
            await body.source.waitFor(body.source.range.start)
          } catch (error) {
            if (error instanceof MirrorError && error.code === 'integrity_mismatch') refuted()
            // A client that has the wrong facts from a HEAD must not get the right bytes by them. It gets the error.
            return state !== 'refuted' || announced
          }
        }
        return isConfirmed()
      },
    }
  }

  /** The Hub has sent the file of a repo that is not public to this caller: for the time when it cannot be asked. */
  #grant(ctx: Ctx, route: FileRoute, fact: FileFact, askedAt: number): void {
    const { grants, served } = this.#options
    const answered = { fact, askedAt, isPublic: Promise.resolve(false) }
    grants.add(ctx, route, answered)
    served.add(ctx, route, answered)
  }
}
