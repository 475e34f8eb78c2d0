// What the store holds of the repos that are to be bundled. It is read from the table of facts without the lock, so that a
// mirror may be running. What stored answers imply (mirror/documents/implied.ts) is what an offline mirror would answer, so a
// bundle holds what its clients are going to need. The Hub is never asked.

import { createHash } from 'node:crypto'
import type { Config } from '../../config/keys.ts'
import type { PathTest } from '../../hub/file-patterns.ts'
import { contentTypeOf, ListingReader } from '../../hub/listing.ts'
import { apiPath, branchName, type CommitHash, isCommitHash, type Repo, repoKey } from '../../hub/names.ts'
import { blobsIn, MANIFEST_VARIANTS, manifestName, manifestTarget, tagsFor } from '../../hub/registry.ts'
import { parseHubUrl } from '../../hub/route.ts'
import { encodeSegment } from '../../hub/url-text.ts'
import { Implied } from '../../mirror/documents/implied.ts'
import { Metadata, type StoredMetadata } from '../../mirror/metadata/metadata.ts'
import { RestrictedMetadata } from '../../mirror/metadata/restricted.ts'
import { type BlobKey, hasDigest } from '../../store/digest.ts'
import { decodeFact, factId } from '../../store/facts/fact-bytes.ts'
import type { Layout } from '../../store/layout.ts'
import type { FactKind, Facts } from '../../store/store.ts'
import { type Table, withTable } from '../../store/table/table.ts'
import type { Wanted } from '../prefetch/listing.ts'
import { formatRepo } from '../repo-argument.ts'
import {
  type BundledBlob,
  type BundledDocument,
  type BundledFile,
  type BundledRef,
  type BundledRepo,
  ManifestRoom,
} from './manifest.ts'

/** A document with its bytes. */
export interface FoundDocument {
  readonly row: BundledDocument
  readonly body: Buffer
}

/** All that is to be bundled but for the bytes of files. */
export interface Found {
  readonly repos: readonly BundledRepo[]
  readonly refs: readonly BundledRef[]
  readonly files: readonly BundledFile[]
  readonly documents: readonly FoundDocument[]
  readonly blobs: readonly Omit<BundledBlob, 'isCarried'>[]
}

/** Something of a repo is not stored, or must not be bundled. The message says what, and the cure. */
export class NotStored extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'NotStored'
  }
}

export interface FindOptions {
  readonly config: Config
  readonly wanted: readonly Wanted[]
  readonly isMeant: PathTest
  /** Whether the operator has asked for repos that are not public. */
  readonly withPrivate: boolean
}

interface StoredRepo {
  readonly row: BundledRepo
  readonly metadata: StoredMetadata
  readonly implied: Implied
}

/** Rejects with NotStored, and with BadArchive if there are too many files for one bundle. `table` stays open. */
export async function findStored(table: Table | undefined, options: FindOptions): Promise<Found> {
  const finder = new Finder(table, options)
  for (const wanted of options.wanted) await finder.add(wanted)
  return finder.found()
}

/** What a command has read of the store is not used again. */
const NO_INVALIDATIONS = { invalidate() {}, onRemoved() {} }

/** Nothing of what git has fetched is bundled. */
const NO_CLONES = {
  refs: () => Promise.resolve(undefined),
  items: () => Promise.resolve(undefined),
  commits: () => Promise.resolve(undefined),
}
/** A listing of more pages has no end. */
const MAX_PAGES = 100_000

class Finder {
  readonly #options: FindOptions
  readonly #metadata: Metadata
  readonly #restricted: RestrictedMetadata
  readonly #table: Table | undefined
  readonly #repos = new Map<string, StoredRepo>()
  readonly #refs = new Map<string, BundledRef>()
  readonly #files = new Map<string, BundledFile>()
  readonly #documents = new Map<string, FoundDocument>()
  readonly #blobs = new Map<BlobKey, number>()
  readonly #room = new ManifestRoom()

  constructor(table: Table | undefined, options: FindOptions) {
    this.#options = options
    this.#table = table
    const { config } = options
    const stored = {
      facts: factsOf(table),
      origin: config.origin.href,
      monotonic: () => 0,
      invalidations: NO_INVALIDATIONS,
      onWriteError(error: unknown) {
        throw error
      },
    }
    this.#metadata = new Metadata(stored)
    this.#restricted = new RestrictedMetadata({
      ...stored,
      settings: config,
      cachePrivate: config.cachePrivate,
    })
  }

  async add({ repo, revision }: Wanted): Promise<void> {
    const name = formatRepo(repo)
    const stored = await this.#repoOf(repo)
    const cure = cureFor(name, revision)
    const commit = await stored.implied.commitOf(repo, revision)
    if (commit === undefined) throw new NotStored(`${name} at ${revision} is not stored. ${cure}`)
    if (!isCommitHash(revision)) {
      const known = branchName(revision)
      this.#refs.set(`${repoKey(repo)} ${known}`, { repo, revision: known, commit })
    }
    const api = apiPath(repo)
    await this.#addDocument(stored, `${api}/refs`, undefined)
    const isDone = this.#documents.has(`${api}/revision/${commit}`)
    if (!isDone) await this.#addCommit(stored, commit, { api, name, revision })
    if (branchName(revision) === 'main') await this.#addManifests(stored, commit)
  }

  async #addCommit(
    stored: StoredRepo,
    commit: CommitHash,
    { api, name, revision }: { readonly api: string; readonly name: string; readonly revision: string },
  ): Promise<void> {
    const cure = cureFor(name, revision)
    if (!(await this.#addDocument(stored, `${api}/revision/${encodeSegment(commit)}`, commit)))
      throw new NotStored(`The info of ${name} at ${revision} is not stored. ${cure}`)
    await this.#addFiles(stored, commit, { first: `${api}/tree/${commit}?recursive=true&expand=false`, cure })
  }

  async #repoOf(repo: Repo): Promise<StoredRepo> {
    const known = this.#repos.get(repoKey(repo))
    if (known !== undefined) return known
    const isPublic = await this.#metadata.repos.wasPublic(repo)
    const name = formatRepo(repo)
    if (!isPublic) {
      if (!(await this.#restricted.isShown(repo)))
        throw new NotStored(
          `${name} is not stored as a public repo. ${cureFor(name, undefined)} A private or gated repo can be bundled only ` +
            'where a serve-stored rule of this mirror names it (docs/policies.md).',
        )
      if (!this.#options.withPrivate)
        throw new NotStored(
          `${name} is private or gated. Give --private to write it into a file that others may read who have no right at the Hub.`,
        )
    }
    const { files, refs, documents } = isPublic ? this.#metadata : this.#restricted
    const metadata = { files, refs, documents, repos: this.#metadata.repos }
    const traits = isPublic ? await this.#metadata.repos.traits(repo) : {}
    const row: BundledRepo = {
      repo,
      isPublic,
      ...(traits.name === undefined ? {} : { name: traits.name }),
      ...(traits.licence === undefined ? {} : { licence: traits.licence }),
    }
    const originBase = this.#options.config.origin
    const implied = new Implied({
      metadata,
      originBase,
      cloned: NO_CLONES,
      invalidations: NO_INVALIDATIONS,
    })
    const stored = { row, metadata, implied }
    this.#repos.set(repoKey(repo), stored)
    return stored
  }

  /** Resolves with the document as an offline mirror would answer it; undefined if it would not. */
  async #addDocument(
    { row: { repo }, implied }: StoredRepo,
    target: string,
    commit: CommitHash | undefined,
  ): Promise<FoundDocument | undefined> {
    const route = parseHubUrl(target, '/')
    if (route.kind !== 'document' || route.repo === undefined) return undefined
    const fact = await implied.document(
      { ...route, repo: route.repo },
      { contentType: undefined, body: undefined },
    )
    if (fact === undefined || fact.absent !== undefined) return undefined
    const next = fact.link === undefined ? undefined : implied.nextPage(repo, fact.link)?.target
    const { body } = fact
    const row: BundledDocument = {
      repo,
      target: route.target,
      ...(commit === undefined ? {} : { commit }),
      ...(next === undefined ? {} : { next }),
      sha256: createHash('sha256').update(body).digest('hex'),
      sizeBytes: body.length,
    }
    const document: FoundDocument = { row, body }
    this.#documents.set(route.target, document)
    return document
  }

  async #addFiles(
    stored: StoredRepo,
    commit: CommitHash,
    { first, cure }: { readonly first: string; readonly cure: string },
  ): Promise<void> {
    const { row, metadata } = stored
    const name = formatRepo(row.repo)
    let target: string | undefined = first
    for (let page = 0; target !== undefined && page < MAX_PAGES; page += 1) {
      const document: FoundDocument | undefined = await this.#addDocument(stored, target, commit)
      if (document === undefined)
        throw new NotStored(`The listing of ${name} at ${commit} is not stored. ${cure}`)
      for (const item of itemsOf(document.body)) {
        if (!this.#options.isMeant(item.path)) continue
        const fact = await metadata.files.get(row.repo, commit, item.path)
        const file: BundledFile = {
          repo: row.repo,
          commit,
          ...(fact?.kind === 'present'
            ? { ...fact.meta, ...typed(fact.meta.contentType), key: fact.key }
            : item),
          path: item.path,
        }
        if (file.key.startsWith('opaque:') || (file.sizeBytes === 0 && !hasDigest(file.key, Buffer.alloc(0))))
          throw new NotStored(
            `${name}/${item.path} has no digest by which it could be verified. Leave it out by --exclude.`,
          )
        this.#room.add(file)
        this.#files.set(`${repoKey(row.repo)} ${commit} ${item.path}`, withoutUndefined(file))
        if (file.sizeBytes > 0) this.#blobs.set(file.key, file.sizeBytes)
      }
      target = document.row.next
    }
  }

  /** What Ollama and older versions of llama.cpp ask about the GGUF files of the main branch, as far as all of it is stored. */
  async #addManifests({ row: { repo, isPublic }, metadata }: StoredRepo, commit: CommitHash): Promise<void> {
    // Of other repos the mirror stores no manifests.
    if (repo.type !== 'model' || !isPublic) return
    const files = [...this.#files.values()].filter((file) => file.repo === repo && file.commit === commit)
    for (const tag of tagsFor(files.map(({ path }) => path)))
      for (const variant of MANIFEST_VARIANTS) {
        const target = manifestTarget(repo, tag)
        const name = manifestName(target, variant)
        const fact = await metadata.documents.get(name)
        if (fact === undefined) continue
        const blobs = [...blobsIn(fact.body.toString())].map(
          ([sha256, sizeBytes]) => ({ key: `sha256:${sha256}`, sizeBytes }) as const,
        )
        const others = blobs.filter(({ key, sizeBytes }) => this.#blobs.get(key) !== sizeBytes)
        const isWhole = others.every(
          ({ key, sizeBytes }) => this.#table?.blobBytes(key)?.length === sizeBytes,
        )
        if (!isWhole) continue
        for (const { key, sizeBytes } of others) this.#blobs.set(key, sizeBytes)
        const { body, contentType, headers } = fact
        const registry = { ...variant, contentType, headers, blobs: others.map(({ key }) => key) }
        const { length: sizeBytes } = body
        const sha256 = createHash('sha256').update(body).digest('hex')
        this.#documents.set(name, { row: { repo, target, registry, sha256, sizeBytes }, body })
      }
  }

  found(): Found {
    return {
      repos: [...this.#repos.values()].map(({ row }) => row),
      refs: [...this.#refs.values()],
      files: [...this.#files.values()],
      documents: [...this.#documents.values()],
      blobs: [...this.#blobs]
        .map(([key, sizeBytes]) => ({ key, sizeBytes }))
        .sort((a, b) => (a.key < b.key ? -1 : 1)),
    }
  }
}

function withoutUndefined({
  repo,
  commit,
  path,
  etag,
  lfs,
  contentType,
  key,
  sizeBytes,
}: BundledFile): BundledFile {
  return {
    repo,
    commit,
    path,
    etag,
    lfs,
    ...(contentType === undefined ? {} : { contentType }),
    key,
    sizeBytes,
  }
}

/** A type that the manifest takes. Without one, clients get what follows from the name. */
function typed(contentType: string | undefined): { readonly contentType?: string } {
  return contentType !== undefined && /^[\w.+-]+\/[\w.+-]+(?:; ?charset=[\w-]+)?$/.test(contentType)
    ? { contentType }
    : {}
}

function cureFor(name: string, revision: string | undefined): string {
  return `Fetch it first: hubmirror prefetch ${name}${revision === undefined || revision === 'main' ? '' : `@${revision}`}`
}

/** The files in a page of a listing. */
function itemsOf(body: Buffer): readonly (Pick<BundledFile, 'path' | 'etag' | 'lfs' | 'key' | 'sizeBytes'> & {
  readonly contentType?: string
})[] {
  const files = new ListingReader(body).read(Number.POSITIVE_INFINITY) ?? []
  return files.map((file): ReturnType<typeof itemsOf>[number] => ({
    ...file,
    key: file.lfs ? `sha256:${file.etag}` : `gitsha1:${file.etag}`,
    ...(file.lfs ? {} : typed(contentTypeOf(file.path))),
  }))
}

/** Small blobs that are read from the table at once: 4 MiB at most. */
const SMALL_AT_ONCE = 64

/** Each item with the bytes of its blob, if these are in the table. The bytes of all others are in files. */
export async function* withSmallBytes<T extends { readonly key: BlobKey }>(
  layout: Layout,
  items: readonly T[],
): AsyncGenerator<{ readonly item: T; readonly small: Buffer | undefined }, void, undefined> {
  for (let start = 0; start < items.length; start += SMALL_AT_ONCE) {
    const batch = items.slice(start, start + SMALL_AT_ONCE)
    yield* await withTable(layout.facts, { readOnly: true }, (table) =>
      batch.map((item) => {
        const bytes = table?.blobBytes(item.key)
        return { item, small: bytes && Buffer.from(bytes) }
      }),
    )
  }
}

/** The facts of a table, to be read only. */
function factsOf(table: Table | undefined): Facts {
  const readOnly = (): Promise<never> => Promise.reject(new Error('the facts are only read here'))
  return {
    read(kind: FactKind, key: string) {
      const bytes = table?.fact({ kind, id: factId(key) })?.bytes
      const fact = bytes && decodeFact(Buffer.from(bytes))
      return Promise.resolve(fact?.key === key ? fact.value : undefined)
    },
    peek: () => undefined,
    write: readOnly,
    remove: readOnly,
    list: () => nothing(),
    keys: () => nothing(),
  }
}

async function* nothing(): AsyncGenerator<never, void, undefined> {}
