// What the stored answers about a repo imply: other spellings of the same request, and that a commit does not have a
// file. Reads what is stored and never asks the Hub. Who may see the result is decided before.

import { withoutTrailingSlash } from '../../http/base-url.ts'
import { apiPath, branchName, type CommitHash, isCommitHash, type Repo, repoKey } from '../../hub/names.ts'
import { type HubRoute, parseHubUrl } from '../../hub/route.ts'
import { encodeSegment, splitTarget } from '../../hub/url-text.ts'
import { MemoryCache } from '../../memory.ts'
import type { ClonedFiles } from '../cloned-files.ts'
import type { Invalidations } from '../invalidations.ts'
import type { DocumentFact } from '../metadata/documents.ts'
import type { StoredMetadata } from '../metadata/metadata.ts'
import {
  commitOfCursor,
  commitOfRef,
  composeBareInfo,
  composeInfo,
  composePathsInfo,
  composeRefs,
  composeTree,
  cursorAt,
  fileItem,
  type Info,
  isTrue,
  itemsOfSiblings,
  parseInfo,
  parseItems,
  readCommitsQuestion,
  readInfoQuestion,
  readPathsQuestion,
  readTreeQuestion,
  type SeenRef,
  siblingsOf,
  type TreeItem,
  withDirectories,
} from './compose.ts'
import { INFOS, REFS, WHOLE_TREES } from './stored-spellings.ts'

type DocumentRoute = Extract<HubRoute, { kind: 'document'; repo: Repo }>

/** Fields of an answer of the Hub. */
type HubHeaders = DocumentFact['headers']

/** What is known of one commit. */
interface CommitFacts {
  readonly info: Info | undefined
  /** An info of another commit, for what all commits share. */
  readonly other: Info | undefined
  /** The whole recursive listing. */
  readonly items: readonly TreeItem[] | undefined
  /** Headers of the Hub that are about the commit. */
  readonly headers: HubHeaders
}

interface Listing {
  readonly items: readonly TreeItem[]
  /** The size of the JSON that it was parsed from. */
  readonly textBytes: number
}

/** The name that huggingface.js uses for the default branch. Infos are stored under it, and earlier versions stored refs under it. */
const DEFAULT_BRANCH = 'HEAD'
const JSON_TYPE = 'application/json; charset=utf-8'
/** A listing of more pages than this is not put together. */
const MAX_PAGES = 500
/** Revisions, newest first, among which an info of a commit is looked for. */
const MAX_REVISIONS = 16
/** Files whose sizes and digests are collected one by one. */
const MAX_GATHERED = 10_000
const TOGETHER = 32
const MEMORY_BYTES = 32 * 1024 * 1024
/** Memory of parsed items per byte of their JSON. */
const BYTES_PER_TEXT_BYTE = 4

/** An item as JSON, without its path. */
const ITEM_BYTES = 100

/** Larger ones are not parsed: the Hub does not name all files in them, and parsing would block the event loop. */
const MAX_INFO_BYTES = 16 * 1024 * 1024

type Cloned = Pick<ClonedFiles, 'refs' | 'items' | 'commits'>

export class Implied {
  readonly #metadata: StoredMetadata
  readonly #cloned: Cloned
  readonly #originBase: string
  readonly #originPath: string
  // Listings of commits, which never change.
  readonly #listings = new MemoryCache<Listing>({
    maxBytes: MEMORY_BYTES,
    sizeOf: ({ textBytes }) => textBytes * BYTES_PER_TEXT_BYTE,
  })

  constructor(options: {
    readonly metadata: StoredMetadata
    readonly originBase: URL
    readonly cloned: Cloned
    readonly invalidations: Pick<Invalidations, 'onRemoved'>
  }) {
    this.#metadata = options.metadata
    this.#cloned = options.cloned
    this.#originBase = withoutTrailingSlash(options.originBase.href)
    this.#originPath = withoutTrailingSlash(options.originBase.pathname) || '/'
    options.invalidations.onRemoved(() => this.#listings.clear())
  }

  /**
   * The answer to the request, as far as stored answers imply one. It may lack fields that were never requested, and refs
   * that were never seen. Everything in it comes from the Hub. Undefined when nothing implies an answer.
   */
  async document(
    route: DocumentRoute,
    request: { readonly contentType: string | undefined; readonly body: Buffer | undefined },
  ): Promise<DocumentFact | undefined> {
    const query = new URLSearchParams(splitTarget(route.target).query)
    switch (route.document) {
      case 'repo':
      case 'revision':
        return this.#info(route, query)
      case 'tree':
        return this.#tree(route, query)
      case 'paths-info':
        return this.#pathsInfo(route, request)
      case 'refs':
        return this.#refs(route, query)
      case 'commits':
        return this.#commits(route, query)
      case 'treesize':
      case 'parquet':
      case 'croissant':
      case 'safetensors-metadata':
      case 'datasets-server':
      case 'dataset-rows':
        return undefined
      default:
        return route.document satisfies never
    }
  }

  /**
   * What is known of a public repo as a whole: its info at the commit where its main branch was last seen, an earlier one, or what
   * follows from its being public.
   */
  async ofRepo(repo: Repo): Promise<Info> {
    const commit = await this.commitOf(repo, 'main')
    const info =
      (commit && (await this.#infoAt(repo, commit, { revision: 'main' }))?.value) ??
      (await this.#anyInfo(repo))
    const { name = repo.id } = await this.#metadata.repos.traits(repo)
    return info ?? composeBareInfo(repo, name, commit)
  }

  /** Whether the commit has the file, by a complete listing; undefined when there is none. */
  async hasFile(
    repo: Repo,
    commit: CommitHash,
    path: string,
    revision = 'main',
  ): Promise<boolean | undefined> {
    const items = await this.#treeOf(repo, commit)
    if (items !== undefined) return items.some((item) => item.type === 'file' && item.path === path)
    const info = await this.#infoAt(repo, commit, { revision })
    return info && siblingsOf(info.value)?.some(({ rfilename }) => rfilename === path)
  }

  /** The file as a complete listing of the commit describes it; undefined when there is none, or it does not name the file. */
  async listedFile(repo: Repo, commit: CommitHash, path: string): Promise<TreeItem | undefined> {
    const items = await this.#treeOf(repo, commit)
    return items?.find((item) => item.type === 'file' && item.path === path)
  }

  /** The Git LFS objects of the commits to which revisions of the repo were last seen to point, by digest, with their sizes. */
  async objects(repo: Repo): Promise<ReadonlyMap<string, number>> {
    const seen = (await this.#metadata.refs.revisions(repo)).slice(0, MAX_REVISIONS)
    const found = new Map<string, number>()
    const commits = new Set<CommitHash>()
    for (const revision of new Set(['main', ...seen])) {
      const commit = await this.commitOf(repo, revision)
      if (commit === undefined || commits.has(commit)) continue
      commits.add(commit)
      const { items = [] } = await this.#commit(repo, commit, { revision, needsItems: true })
      for (const { lfs } of items) if (lfs !== undefined) found.set(lfs.oid, lfs.size)
    }
    return found
  }

  /** The commit that a revision was last seen at, by any stored answer that names both. */
  async commitOf(repo: Repo, revision: string): Promise<CommitHash | undefined> {
    const name = branchName(revision)
    const ref = await this.#metadata.refs.get(repo, name, 0)
    if (ref !== undefined) return ref.commit
    const named = `${apiPath(repo)}/revision/${encodeSegment(name)}`
    for (const path of name === 'main' ? [named, apiPath(repo)] : [named]) {
      for (const query of INFOS) {
        const sha = (await this.#storedInfo(path + query))?.value['sha']
        if (typeof sha === 'string' && isCommitHash(sha)) return sha
      }
    }
    const listed = await this.#listedRefs(repo)
    return listed && commitOfRef(listed, name)
  }

  /** The refs as the Hub has listed them, to a client of the API or of git. */
  async #listedRefs(repo: Repo): Promise<Info | undefined> {
    for (const spelling of REFS) {
      const stored = await this.#storedInfo(`${apiPath(repo)}/refs${spelling}`)
      if (stored !== undefined) return stored.value
    }
    return this.#cloned.refs(repo)
  }

  async #info(route: DocumentRoute, query: URLSearchParams): Promise<DocumentFact | undefined> {
    const { repo, revision = 'main' } = route
    const question = readInfoQuestion(query)
    const commit = question && (await this.commitOf(repo, revision))
    if (commit === undefined || question === undefined) return undefined
    // The same question may have been answered for another name of the commit, with fields that no other answer has.
    const { fields } = question
    const asked = route.target.slice(splitTarget(route.target).path.length)
    const same = fields && (await this.#infoAt(repo, commit, { revision, queries: [asked] }))
    if (same !== undefined) return answer(same.value, commitHeaders(same.headers, commit))
    const facts = await this.#commit(repo, commit, { revision, needsItems: question.blobs })
    // Nothing shows that there is such a commit.
    if (isCommitHash(revision) && facts.info === undefined && facts.items === undefined) return undefined
    const { name = repo.id } = await this.#metadata.repos.traits(repo)
    // Git is not started for a time that is known, or that is not asked for.
    const asksTime = facts.info === undefined && (fields === undefined || fields.includes('lastModified'))
    const newest = asksTime ? await this.#cloned.commits(repo, commit, { skip: 0, count: 1 }) : undefined
    const info = composeInfo({ repo, name, commit, madeAt: newest?.items[0]?.date, ...facts }, question)
    return info && answer(info, facts.headers)
  }

  async #tree(route: DocumentRoute, query: URLSearchParams): Promise<DocumentFact | undefined> {
    const { repo, revision = 'main' } = route
    const question = readTreeQuestion(pathOf(route), query)
    if (question === undefined) return undefined
    const commit = await this.commitOf(repo, revision)
    // The policies decided about this revision, and another commit would have another listing.
    const isOther = (commitOfCursor(query) ?? commit) !== commit
    if (commit === undefined || isOther) return undefined
    const { items: exact, headers } = await this.#commit(repo, commit, { revision, needsItems: true })
    const items = exact ?? (await this.#treeOfBranch(repo, revision))
    if (items === undefined) return this.#missingFolder(repo, commit, { path: question.path, revision })
    // A listing of a branch belongs to no known commit, so that no page of it can be named.
    const limit = exact === undefined ? Number.POSITIVE_INFINITY : question.limit
    const composed = composeTree(items, { ...question, limit })
    if (composed === 'absent') return absent(exact === undefined ? undefined : commit)
    const { page, next } = composed
    if (next === undefined) return answer(page, headers)
    const more = new URLSearchParams(query)
    more.set('limit', String(question.limit))
    more.set('cursor', cursorAt(commit, next))
    const { path } = splitTarget(route.target)
    return { ...answer(page, headers), link: `<${this.#originBase}${path}?${more.toString()}>; rel="next"` }
  }

  /** The names of a commit's files are enough to say that it lacks a folder. */
  async #missingFolder(
    repo: Repo,
    commit: CommitHash,
    { path, revision }: { readonly path: string; readonly revision: string },
  ): Promise<DocumentFact | undefined> {
    if (path === '') return undefined
    const info = await this.#infoAt(repo, commit, { revision })
    const siblings = info && siblingsOf(info.value)
    const isThere = siblings?.some(({ rfilename }) => rfilename.startsWith(`${path}/`))
    return isThere === false ? absent(commit) : undefined
  }

  async #pathsInfo(
    { repo, revision = 'main' }: DocumentRoute,
    request: { readonly contentType: string | undefined; readonly body: Buffer | undefined },
  ): Promise<DocumentFact | undefined> {
    if (request.body === undefined) return undefined
    const question = readPathsQuestion(request.contentType, request.body)
    const commit = question && (await this.commitOf(repo, revision))
    if (commit === undefined || question === undefined) return undefined
    const { items: exact, headers } = await this.#commit(repo, commit, { revision, needsItems: true })
    const items = exact ?? (await this.#treeOfBranch(repo, revision))
    return items && answer(composePathsInfo(items, question), headers)
  }

  async #refs({ repo }: DocumentRoute, query: URLSearchParams): Promise<DocumentFact | undefined> {
    if ([...query.keys()].some((name) => name !== 'include_prs')) return undefined
    const listed = await this.#listedRefs(repo)
    const seen: SeenRef[] = []
    for (const revision of new Set(['main', ...(await this.#metadata.refs.revisions(repo))])) {
      const commit = await this.commitOf(repo, revision)
      if (commit !== undefined && revision !== DEFAULT_BRANCH) seen.push({ revision, commit })
    }
    if (listed === undefined && seen.length === 0) return undefined
    return answer(composeRefs(listed, seen, isTrue(query.get('include_prs') ?? '')), {})
  }

  async #commits(route: DocumentRoute, query: URLSearchParams): Promise<DocumentFact | undefined> {
    const { repo, revision = 'main' } = route
    const question = readCommitsQuestion(query)
    const commit = question && (await this.commitOf(repo, revision))
    if (commit === undefined || question === undefined) return undefined
    const { page, limit } = question
    const found = await this.#cloned.commits(repo, commit, { skip: page * limit, count: limit })
    if (found === undefined) return undefined
    const fact = answer(found.items, { 'x-total-count': String(found.total) })
    if ((page + 1) * limit >= found.total) return fact
    const more = new URLSearchParams(query)
    more.set('p', String(page + 1))
    const { path } = splitTarget(route.target)
    return { ...fact, link: `<${this.#originBase}${path}?${more.toString()}>; rel="next"` }
  }

  async #commit(
    repo: Repo,
    commit: CommitHash,
    about: { readonly revision: string; readonly needsItems: boolean },
  ): Promise<CommitFacts> {
    const found = await this.#infoAt(repo, commit, about)
    const info = found?.value
    const items =
      (await this.#treeOf(repo, commit)) ??
      (about.needsItems && info !== undefined ? await this.#gathered(repo, commit, info) : undefined)
    const other = info === undefined ? await this.#anyInfo(repo) : undefined
    return { info, other, items, headers: commitHeaders(found?.headers, commit) }
  }

  /** An info that names this commit, stored under one of `queries`. */
  async #infoAt(
    repo: Repo,
    commit: CommitHash,
    { revision, queries = INFOS }: { readonly revision: string; readonly queries?: readonly string[] },
  ): Promise<{ readonly value: Info; readonly headers: HubHeaders } | undefined> {
    const seen = (await this.#metadata.refs.revisions(repo)).slice(0, MAX_REVISIONS)
    const revisions = new Set([commit, revision, 'main', DEFAULT_BRANCH, ...seen])
    const paths = [...revisions].map((name) => `${apiPath(repo)}/revision/${encodeSegment(name)}`)
    for (const path of [...paths, apiPath(repo)]) {
      for (const query of queries) {
        const stored = await this.#storedInfo(path + query)
        if (stored?.value['sha'] === commit) return stored
      }
    }
    return undefined
  }

  async #anyInfo(repo: Repo): Promise<Info | undefined> {
    for (const path of [apiPath(repo), `${apiPath(repo)}/revision/main`]) {
      for (const query of INFOS) {
        const stored = await this.#storedInfo(path + query)
        if (stored !== undefined) return stored.value
      }
    }
    return undefined
  }

  async #storedInfo(
    target: string,
  ): Promise<{ readonly value: Info; readonly headers: HubHeaders } | undefined> {
    const fact = await this.#metadata.documents.get(`GET ${target}`)
    const isInfo = fact !== undefined && fact.absent === undefined && fact.body.length <= MAX_INFO_BYTES
    const value = isInfo ? parseInfo(fact.body.toString()) : undefined
    return fact && value && { value, headers: fact.headers }
  }

  /** The whole recursive listing of a commit; undefined when one of its pages is missing. */
  async #treeOf(repo: Repo, commit: CommitHash): Promise<readonly TreeItem[] | undefined> {
    const key = listingKey(repo, commit)
    const cached = this.#listings.get(key)
    if (cached !== undefined) return cached.items
    const found = (await this.#storedTree(repo, commit)) ?? (await this.#clonedTree(repo, commit))
    if (found !== undefined) this.#listings.set(key, found)
    return found?.items
  }

  async #clonedTree(repo: Repo, commit: CommitHash): Promise<Listing | undefined> {
    const items = await this.#cloned.items(repo, commit)
    return items && { items, textBytes: items.reduce((sum, { path }) => sum + path.length + ITEM_BYTES, 0) }
  }

  /** The same for a branch, as it was when the listing was requested. */
  async #treeOfBranch(repo: Repo, revision: string): Promise<readonly TreeItem[] | undefined> {
    return isCommitHash(revision) ? undefined : (await this.#storedTree(repo, revision))?.items
  }

  async #storedTree(repo: Repo, revision: string): Promise<Listing | undefined> {
    for (const query of WHOLE_TREES) {
      const found = await this.#pagesFrom(repo, `${apiPath(repo)}/tree/${encodeSegment(revision)}${query}`)
      if (found !== undefined) return found
    }
    return undefined
  }

  async #pagesFrom(repo: Repo, first: string): Promise<Listing | undefined> {
    const items: TreeItem[] = []
    let textBytes = 0
    let target = first
    let older: string | undefined
    const seen = new Set<string>()
    // A page that leads back to an earlier one ends no listing.
    while (seen.size < MAX_PAGES && !seen.has(target)) {
      seen.add(target)
      const fact: DocumentFact | undefined =
        (await this.#metadata.documents.get(`GET ${target}`)) ??
        (older === undefined ? undefined : await this.#metadata.documents.get(`GET ${older}`))
      const more =
        fact === undefined || fact.absent !== undefined ? undefined : parseItems(fact.body.toString())
      if (fact === undefined || more === undefined) return undefined
      for (const item of more) items.push(item)
      textBytes += fact.body.length
      if (fact.link === undefined) return { items, textBytes }
      const next = this.nextPage(repo, fact.link)
      if (next === undefined) return undefined
      target = next.target
      // Earlier versions stored a page under the query of the link.
      older = splitTarget(target).path + (/<[^<>?]*(\?[^<>]*)>/.exec(fact.link)?.[1] ?? '')
    }
    return undefined
  }

  /** The next page of a listing, by its canonical target; undefined when the link does not lead to one. */
  nextPage(repo: Repo, link: string): DocumentRoute | undefined {
    const url = /<([^<>]+)>\s*;\s*rel="?next"?/.exec(link)?.[1]
    if (url === undefined) return undefined
    try {
      const { pathname, search } = new URL(url, this.#originBase)
      // A mirror behind a prefix may still name the Hub, which has none.
      const base = pathname.startsWith(`${this.#originPath}/`) ? this.#originPath : '/'
      const route = parseHubUrl(pathname + search, base)
      if (route.kind !== 'document' || route.document !== 'tree') return undefined
      return repoKey(route.repo) === repoKey(repo) ? route : undefined
    } catch {
      return undefined
    }
  }

  /** The listing from the names in an info, and what else is known of each file. */
  async #gathered(repo: Repo, commit: CommitHash, info: Info): Promise<readonly TreeItem[] | undefined> {
    const siblings = siblingsOf(info)
    if (siblings === undefined) return undefined
    const listed = itemsOfSiblings(siblings)
    if (listed !== undefined) return withDirectories(listed)
    if (siblings.length > MAX_GATHERED) return undefined
    const files: TreeItem[] = []
    for (let start = 0; start < siblings.length; start += TOGETHER) {
      const batch = siblings.slice(start, start + TOGETHER)
      const found = await Promise.all(batch.map(({ rfilename }) => this.#file(repo, commit, rfilename)))
      for (const item of found) {
        if (item === undefined) return undefined
        files.push(item)
      }
    }
    return withDirectories(files)
  }

  async #file(repo: Repo, commit: CommitHash, path: string): Promise<TreeItem | undefined> {
    const fact = await this.#metadata.files.get(repo, commit, path)
    if (fact?.kind !== 'present') return undefined
    const { etag, sizeBytes: size, lfs } = fact.meta
    if (lfs) return /^[0-9a-f]{64}$/.test(etag) ? fileItem(path, { size, sha256: etag }) : undefined
    return isCommitHash(etag) ? fileItem(path, { size, blobId: etag }) : undefined
  }
}

function answer(value: unknown, headers: Readonly<Record<string, string>>): DocumentFact {
  return { body: Buffer.from(JSON.stringify(value)), contentType: JSON_TYPE, link: undefined, headers }
}

function absent(commit: CommitHash | undefined): DocumentFact {
  const message = 'Entry not found'
  const headers: Record<string, string> = commit === undefined ? {} : { 'x-repo-commit': commit }
  return { ...answer({ error: message }, headers), absent: { message } }
}

function commitHeaders(headers: HubHeaders | undefined, commit: CommitHash): HubHeaders {
  return headers?.['x-repo-commit'] === commit ? { 'x-repo-commit': commit } : {}
}

function listingKey(repo: Repo, commit: CommitHash): string {
  return `${repoKey(repo)} ${commit}`
}

/** The folder that a listing is requested for, from the canonical target. */
function pathOf({ repo, revision = '', target }: DocumentRoute): string {
  const { path } = splitTarget(target)
  const rest = path.slice(`${apiPath(repo)}/tree/${encodeSegment(revision)}/`.length)
  return rest.split('/').map(decodeURIComponent).join('/')
}
