// Takes in what the operator brings from elsewhere: bytes with their digest, what the Hub has said of files and revisions, and
// whether a repo is public. Only commands on the control socket reach this. What the Hub has reported to this process itself
// is newer than all that comes here, and counts.

import { withoutTrailingSlash } from '../http/base-url.ts'
import { isHeaderSafe } from '../http/headers.ts'
import type { FileMeta } from '../hub/file-meta.ts'
import { type CommitHash, isCommitHash, parseRepoId, type Repo, repoKey } from '../hub/names.ts'
import {
  blobSizeName,
  blobsIn,
  MANIFEST_HEADERS,
  type ManifestVariant,
  manifestAccept,
  manifestName,
  registryRequest,
} from '../hub/registry.ts'
import { parseHubUrl } from '../hub/route.ts'
import type { BlobKey } from '../store/digest.ts'
import { RESTRICTED, type Store } from '../store/store.ts'
import type { Access } from './access/access.ts'
import type { Contents } from './content.ts'
import type { Downloads, DownloadsOptions } from './downloads/downloads.ts'
import type { Invalidations } from './invalidations.ts'
import { FactStore } from './metadata/fact-store.ts'
import type { Metadata } from './metadata/metadata.ts'
import { removeFacts } from './metadata/remove-facts.ts'
import type { RestrictedMetadata } from './metadata/restricted.ts'
import { sizeFact } from './registry.ts'

/** Long before any answer of the Hub to this process. */
const LONG_AGO = Number.NEGATIVE_INFINITY
const JSON_TYPE = 'application/json; charset=utf-8'

/** A repo that is brought. `isPublic` is what the operator vouches for. */
export interface BroughtRepo {
  readonly repo: Repo
  readonly isPublic: boolean
  readonly name?: string | undefined
  readonly licence?: readonly string[] | undefined
}

export type Standing = 'welcome' | 'no-rule' | 'restricted' | 'public' | 'ended'

export interface BroughtFile {
  readonly path: string
  readonly meta: FileMeta
  readonly key: BlobKey
}

/** A repo of which all else is there, and the commits to which its revisions point. */
export interface FinishedRepo {
  readonly brought: BroughtRepo
  readonly refs: ReadonlyMap<string, CommitHash>
}

/**
 * The revisions that were pointed to a commit, each with whether it was another one before. By the start of the keys of documents and
 * by the key of the repo.
 */
type Moved = Map<string, Map<string, Map<string, boolean>>>

/** An answer of the API: JSON. `next` is the target of the next page. */
export interface BroughtDocument {
  readonly target: string
  readonly commit?: CommitHash | undefined
  readonly next?: string | undefined
  /** For a manifest of the registry, and not an answer of the API. */
  readonly registry?: BroughtManifest | undefined
  readonly body: Buffer
}

/** What a manifest of the registry is stored with. */
export interface BroughtManifest extends ManifestVariant {
  readonly contentType: string
  readonly headers: Readonly<Record<string, string>>
}

export interface IntakeOptions {
  readonly store: Pick<Store, 'facts' | 'readOnly' | 'hasRoom' | 'isHeld'>
  /** Where the store is, for messages. */
  readonly place: string
  readonly health: Pick<DownloadsOptions, 'onStorageFailed' | 'onNoSpace'>
  readonly origin: URL
  readonly metadata: Metadata
  readonly restricted: RestrictedMetadata
  readonly access: Pick<Access, 'verdict' | 'wasRefused'>
  readonly contents: Pick<Contents, 'isStored'>
  readonly downloads: Pick<Downloads, 'take'>
  readonly invalidations: Pick<Invalidations, 'invalidate'>
}

export class Intake {
  readonly #options: IntakeOptions

  constructor(options: IntakeOptions) {
    this.#options = options
  }

  get isReadOnly(): boolean {
    return this.#options.store.readOnly
  }

  /**
   * Whether anything of the repo may be kept. `no-rule`: it is private or gated, and no rule names callers who may read it.
   * `restricted`: it is brought as a public repo, and the last word of the Hub to this process was a refusal. `public`: it is brought
   * as private or gated, and the Hub has just shown it to an anonymous request. `ended`: the Hub has refused it to a caller of this
   * process, or a write went to it, since the Hub has shown it.
   */
  standingOf({ repo, isPublic }: BroughtRepo): Standing {
    const { access, restricted } = this.#options
    if (isPublic) return access.wasRefused(repo) ? 'restricted' : 'welcome'
    if (!restricted.isNamed(repo)) return 'no-rule'
    if (access.verdict(repo) === 'public') return 'public'
    return restricted.isEnded(repo) ? 'ended' : 'welcome'
  }

  /** Where the store is, for messages. */
  get place(): string {
    return this.#options.place
  }

  /** Reports that the store could not take something. */
  failed(error: unknown): void {
    this.#options.health.onStorageFailed(error)
  }

  /** As `Store.hasRoom`. */
  hasRoom(bytes: number, keptBytes: number, smallBytes: number): Promise<boolean> {
    return this.#options.store.hasRoom(bytes, keptBytes, smallBytes)
  }

  /** As `Store.isHeld`. */
  isHeld(key: BlobKey): boolean {
    return this.#options.store.isHeld(key)
  }

  isStored(key: BlobKey, sizeBytes: number): Promise<boolean> {
    return this.#options.contents.isStored(key, sizeBytes)
  }

  /** As `Downloads.take`. */
  async takeBlob(
    key: BlobKey,
    sizeBytes: number,
    brought: Parameters<Downloads['take']>[2],
  ): Promise<'stored' | 'wrong' | 'no-space'> {
    const { downloads, health } = this.#options
    const outcome = await downloads.take(key, sizeBytes, brought, () => this.isStored(key, sizeBytes))
    if (outcome === 'no-space') health.onNoSpace()
    return outcome
  }

  /** Keeps what commits have at their paths. They are on the disk when it resolves. Rejects with the error of the disk. */
  async keepFiles(brought: BroughtRepo, files: readonly BroughtFile[]): Promise<void> {
    const store = await this.#storeOf(brought)
    const { facts } = this.#options.store
    await Promise.all(
      files.map(({ path, meta, key }) =>
        facts.write('files', store.fileKey(brought.repo, meta.commit, path), { ...meta, key }),
      ),
    )
  }

  /** Keeps an answer of the API about the repo. Rejects with BadDocument if it is none, and with the error of the disk. */
  async keepDocument(brought: BroughtRepo, document: BroughtDocument): Promise<void> {
    if (document.registry !== undefined) return this.#keepManifest(brought, document, document.registry)
    const target = this.#targetOf(brought.repo, document.target)
    const next = document.next === undefined ? undefined : this.#targetOf(brought.repo, document.next)
    const { commit, body } = document
    const store = await this.#storeOf(brought)
    await this.#options.store.facts.write('documents', store.documentKey(`GET ${target}`), {
      body,
      contentType: JSON_TYPE,
      ...(next === undefined ? {} : { link: `<${this.#base}${next}>; rel="next"` }),
      headers: commit === undefined ? {} : { 'x-repo-commit': commit },
    })
  }

  /** Keeps a manifest of the registry of a public repo, and the sizes of the blobs that it names. Rejects as keepDocument does. */
  async #keepManifest(
    brought: BroughtRepo,
    { target, body }: BroughtDocument,
    { accept, isLlama, contentType, headers }: BroughtManifest,
  ): Promise<void> {
    const route = routeOf(target)
    const asked = route && registryRequest(route)
    const isOwn = asked?.kind === 'manifest' && repoKey(asked.repo) === repoKey(brought.repo)
    if (!isOwn || !brought.isPublic || manifestAccept(accept) !== accept) throw new BadDocument()
    const name = manifestName(asked.target, { accept, isLlama })
    const { store, metadata } = this.#options
    const facts = await this.#storeOf(brought)
    // What the Hub has answered to this process counts more, while it is there.
    const isThere = (await store.facts.read('documents', facts.documentKey(name))) !== undefined
    if (isThere && metadata.documents.askedAt(name) !== undefined) return
    const kept = MANIFEST_HEADERS.flatMap((name) => {
      const value = headers[name]
      return value !== undefined && isHeaderSafe(value) ? [[name, value] as const] : []
    })
    // A blob counts as stored with this size only if its bytes have the digest.
    for (const [sha256, sizeBytes] of blobsIn(body.toString())) {
      const key = facts.documentKey(blobSizeName(asked.target, sha256))
      if ((await store.facts.read('documents', key)) === undefined)
        await store.facts.write('documents', key, sizeFact({ sizeBytes, isExact: false }))
    }
    const fact = { body, contentType, headers: Object.fromEntries(kept) }
    await store.facts.write('documents', facts.documentKey(name), fact)
  }

  /**
   * Points revisions to commits, and makes the repos readable: for all callers if a repo is public, and else for those whom a rule
   * names. To be called when all else of them is there. Each call reads the keys of all documents once, so many repos belong into
   * one. Rejects with NotWelcome, and with the error of the disk; some of the repos may be readable then.
   */
  async finish(repos: readonly FinishedRepo[]): Promise<void> {
    const moved: Moved = new Map()
    try {
      for (const one of repos) await this.#point(one, moved)
    } finally {
      // Also when a later repo has failed.
      await removeFacts(this.#options.store.facts, 'documents', this.#olderKeys(moved))
    }
    for (const { brought } of repos) await this.#show(brought)
  }

  async #point({ brought, refs }: FinishedRepo, moved: Moved): Promise<void> {
    const { repo, isPublic } = brought
    const { metadata, restricted, store } = this.#options
    const facts = await this.#storeOf(brought)
    const kept = isPublic ? metadata : restricted
    for (const [revision, commit] of refs) {
      const { commit: before } = (await kept.refs.get(repo, revision, 0)) ?? {}
      kept.refs.set(repo, revision, commit, { askedAt: LONG_AGO, store: true })
      const { commit: known } = (await kept.refs.get(repo, revision, 0)) ?? {}
      // What the Hub has answered to this process counts more.
      if (known !== commit) continue
      const ofStore = ensured(moved, facts.documentKey(''), () => new Map<string, Map<string, boolean>>())
      ensured(ofStore, repoKey(repo), () => new Map()).set(revision, before !== commit)
      // Again, and waited for.
      await store.facts.write('refs', facts.refKey(repo, revision), { commit })
    }
  }

  async #show(brought: BroughtRepo): Promise<void> {
    const { restricted, invalidations } = this.#options
    const { repo, isPublic } = brought
    if (isPublic) await this.#publish(brought)
    else await restricted.broughtAll(repo)
    invalidations.invalidate(repo)
    if (this.standingOf(brought) !== 'welcome') throw new NotWelcome(repo)
  }

  async #publish(brought: BroughtRepo): Promise<void> {
    const { repo, name, licence } = brought
    const { repos } = this.#options.metadata
    const id = name === undefined ? undefined : parseRepoId(name)
    // What the Hub has said to this process counts more.
    const said = repos.isNameFresh(repo, Number.POSITIVE_INFINITY)
      ? (await repos.traits(repo)).licence
      : undefined
    repos.setTraits(repo, { name: id, licence: said ?? licence }, LONG_AGO)
    await repos.publish(repo)
    // The Hub may have refused it meanwhile.
    if (this.standingOf(brought) !== 'welcome') await repos.setPublic(repo, false)
  }

  /**
   * The keys of answers about revisions that point elsewhere now. What the new ones imply is composed from those of their
   * commits. Manifests of the registry are not, so they stay while their branch has the same commit.
   */
  async *#olderKeys(moved: Moved): AsyncGenerator<string> {
    const { facts } = this.#options.store
    for (const [prefix, repos] of moved) {
      for await (const key of facts.keys('documents', prefix)) {
        const { repo, revision, isManifest } = branchOf(key.slice(prefix.length)) ?? {}
        if (repo === undefined || revision === undefined) continue
        const isOther = repos.get(repoKey(repo))?.get(revision)
        if (isOther === true || (isOther === false && isManifest === false)) yield key
      }
    }
  }

  /**
   * Where the facts of the repo are. A restricted repo is named there first, so that they are found when its rule goes, and is public
   * no more.
   */
  async #storeOf(brought: BroughtRepo): Promise<FactStore> {
    const { restricted, metadata, invalidations, origin, store } = this.#options
    const { repo, isPublic } = brought
    if (this.standingOf(brought) !== 'welcome') throw new NotWelcome(repo)
    if (!isPublic) {
      if (await metadata.repos.wasPublic(repo)) {
        await metadata.repos.setPublic(repo, false)
        invalidations.invalidate(repo)
      }
      await restricted.willBring(repo)
    }
    const options = {
      facts: store.facts,
      origin: (isPublic ? '' : RESTRICTED) + origin.href,
      onWriteError() {},
    }
    return new FactStore(options)
  }

  get #base(): string {
    return withoutTrailingSlash(this.#options.origin.href)
  }

  /** The canonical target of a document about the repo. Throws BadDocument. */
  #targetOf(repo: Repo, text: string): string {
    const route = routeOf(text)
    const isOwn =
      route?.kind === 'document' && route.repo !== undefined && repoKey(route.repo) === repoKey(repo)
    if (!isOwn) throw new BadDocument()
    const ofCommit = route.revision !== undefined && isCommitHash(route.revision)
    const isKnown =
      route.document === 'refs' || ((route.document === 'revision' || route.document === 'tree') && ofCommit)
    if (!isKnown) throw new BadDocument()
    return route.target
  }
}

/** The rules, or the Hub, have changed since the repo was welcome. */
export class NotWelcome extends Error {
  constructor({ id }: Repo) {
    super(`the mirror may not keep ${id} any more`)
    this.name = 'NotWelcome'
  }
}

/** What is brought as an answer of the API is none that bundles may have. */
export class BadDocument extends Error {
  constructor() {
    super('it is no answer about the refs, or about a commit, of its repo')
    this.name = 'BadDocument'
  }
}

function routeOf(target: string) {
  try {
    return parseHubUrl(target, '/')
  } catch {
    return undefined
  }
}

/** The branch that a stored answer is about, and its repo; undefined for a commit. The tags of the registry mean files of `main`. */
function branchOf(
  name: string,
): { readonly repo: Repo | undefined; readonly revision: string; readonly isManifest: boolean } | undefined {
  const route = routeOf(name.split(' ', 2)[1] ?? '')
  const asked = route && registryRequest(route)
  if (asked?.kind === 'manifest') return { repo: asked.repo, revision: 'main', isManifest: true }
  if (route?.kind !== 'document' || route.document === 'refs') return undefined
  const { repo, revision = 'main' } = route
  return isCommitHash(revision) ? undefined : { repo, revision, isManifest: false }
}

/** The value under the key, made if there is none. */
function ensured<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  const found = map.get(key) ?? make()
  map.set(key, found)
  return found
}
