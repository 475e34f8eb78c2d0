// Takes in what the operator brings from elsewhere: bytes with their digest, what the Hub has said of files and revisions, and
// whether a repo is public. Only commands on the control socket reach this. What the Hub has reported to this process itself
// is newer than all that comes here, and counts.

import { withoutTrailingSlash } from '../http/base-url.ts'
import type { FileMeta } from '../hub/file-meta.ts'
import { type CommitHash, isCommitHash, parseRepoId, type Repo, repoKey } from '../hub/names.ts'
import { parseHubUrl } from '../hub/route.ts'
import type { BlobKey } from '../store/digest.ts'
import { RESTRICTED, type Store } from '../store/store.ts'
import type { Access } from './access/access.ts'
import type { Contents } from './content.ts'
import type { Downloads } from './downloads/downloads.ts'
import type { Invalidations } from './invalidations.ts'
import { FactStore, ownerOf } from './metadata/fact-store.ts'
import type { Metadata } from './metadata/metadata.ts'
import type { RestrictedMetadata } from './metadata/restricted.ts'

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

export type Standing = 'welcome' | 'no-rule' | 'restricted'

export interface BroughtFile {
  readonly path: string
  readonly meta: FileMeta
  readonly key: BlobKey
}

/** An answer of the API: JSON. `next` is the target of the next page. */
export interface BroughtDocument {
  readonly target: string
  readonly commit?: CommitHash | undefined
  readonly next?: string | undefined
  readonly body: Buffer
}

export interface IntakeOptions {
  readonly store: Pick<Store, 'facts' | 'readOnly'>
  readonly origin: URL
  readonly metadata: Metadata
  readonly restricted: RestrictedMetadata
  readonly access: Pick<Access, 'verdict'>
  readonly contents: Pick<Contents, 'isStored'>
  readonly downloads: Pick<Downloads, 'take'>
  readonly invalidations: Pick<Invalidations, 'invalidate'>
  readonly monotonic: () => number
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
   * `restricted`: it is brought as a public repo, and the Hub has answered this process that it is none.
   */
  standingOf({ repo, isPublic }: BroughtRepo): Standing {
    const { access, restricted } = this.#options
    if (isPublic) return access.verdict(repo) === 'restricted' ? 'restricted' : 'welcome'
    return restricted.isNamed(repo) ? 'welcome' : 'no-rule'
  }

  isStored(key: BlobKey, sizeBytes: number): Promise<boolean> {
    return this.#options.contents.isStored(key, sizeBytes)
  }

  /** As `Downloads.take`. */
  takeBlob(
    key: BlobKey,
    sizeBytes: number,
    chunks: AsyncIterable<Buffer>,
  ): Promise<'stored' | 'wrong' | 'no-space'> {
    return this.#options.downloads.take(key, sizeBytes, chunks, () => this.isStored(key, sizeBytes))
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

  /**
   * Points revisions to commits, and makes the repo readable: for all callers if it is public, and else for those whom a rule
   * names. To be called when all else of the repo is there. Rejects with the error of the disk.
   */
  async finish(brought: BroughtRepo, refs: ReadonlyMap<string, CommitHash>): Promise<void> {
    const { repo, isPublic, name, licence } = brought
    const { metadata, restricted, invalidations } = this.#options
    const { facts } = this.#options.store
    const store = await this.#storeOf(brought)
    await this.#removeOlder(store, repo, refs)
    const kept = isPublic ? metadata : restricted
    for (const [revision, commit] of refs) {
      kept.refs.set(repo, revision, commit, { askedAt: LONG_AGO, store: true })
      const { commit: known } = (await kept.refs.get(repo, revision, 0)) ?? {}
      // Again, and waited for.
      if (known === commit) await facts.write('refs', store.refKey(repo, revision), { commit })
    }
    if (isPublic) {
      const id = name === undefined ? undefined : parseRepoId(name)
      metadata.repos.setTraits(repo, { name: id, licence }, LONG_AGO)
      await metadata.repos.setPublic(repo, true)
      const traits = await metadata.repos.traits(repo)
      await facts.write('repos', store.repoKey(repo), { public: true, ...traits })
    }
    invalidations.invalidate(repo)
  }

  /** Answers about revisions that point elsewhere now. What the new ones imply is composed from those of their commits. */
  async #removeOlder(store: FactStore, repo: Repo, refs: ReadonlyMap<string, CommitHash>): Promise<void> {
    const { facts } = this.#options.store
    const prefix = store.documentKey('')
    const removed: Promise<void>[] = []
    for await (const key of facts.keys('documents', prefix)) {
      const owner = ownerOf(key)
      if (owner === undefined || repoKey(owner) !== repoKey(repo)) continue
      const revision = revisionOf(key.slice(prefix.length))
      if (revision !== undefined && refs.has(revision)) removed.push(facts.remove('documents', key))
    }
    await Promise.all(removed)
  }

  /** Where the facts of the repo are. A restricted repo is named there first, so that they are found when its rule goes. */
  async #storeOf(brought: BroughtRepo): Promise<FactStore> {
    const { restricted, origin, monotonic } = this.#options
    const { facts } = this.#options.store
    const { repo, isPublic } = brought
    if (this.standingOf(brought) !== 'welcome') throw new NotWelcome()
    if (!isPublic) {
      if (!(await restricted.isShown(repo))) {
        restricted.show(repo, monotonic())
        await restricted.settled()
      }
    }
    const options = { facts, origin: (isPublic ? '' : RESTRICTED) + origin.href, onWriteError() {} }
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
  constructor() {
    super('the mirror may not keep this repo any more')
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

/** The branch that a stored answer is about; undefined for a commit. */
function revisionOf(name: string): string | undefined {
  const route = routeOf(name.split(' ', 2)[1] ?? '')
  if (route?.kind !== 'document' || route.document === 'refs') return undefined
  const { revision = 'main' } = route
  return isCommitHash(revision) ? undefined : revision
}
