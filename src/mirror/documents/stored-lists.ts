// Lists of repos while the Hub cannot be asked: the public repos of which something is stored, as stored infos describe them. An
// index of them is kept in memory for a while, since to read every info for each list would be slow.

import { type ErrorCode, MirrorError } from '../../errors.ts'
import { withoutTrailingSlash } from '../../http/base-url.ts'
import { type Repo, type RepoType, repoKey, typeOfApiSegment } from '../../hub/names.ts'
import { splitTarget } from '../../hub/url-text.ts'
import { MemoryCache } from '../../memory.ts'
import type { OriginClient } from '../../origin/client.ts'
import { accessOf } from '../../origin/repos/repo-access.ts'
import type { Access } from '../access/access.ts'
import type { Policies } from '../access/policies.ts'
import type { Ctx } from '../context.ts'
import type { DocumentFact } from '../metadata/documents.ts'
import type { Metadata } from '../metadata/metadata.ts'
import { SingleFlight } from '../single-flight.ts'
import { yieldToEventLoop } from '../turns.ts'
import {
  composeItem,
  cursorAfter,
  isListCursor,
  type ListedRepo,
  listedItem,
  matchingRepos,
  needsInfo,
  readListQuestion,
} from './compose-list.ts'
import type { DocumentRoute } from './hub-documents.ts'
import type { Implied } from './implied.ts'

/** Repos of one type. A mirror with more makes no list: to sort them for each request would take too long. */
const MAX_REPOS = 10_000
/** Of the index of one type, in bytes of JSON. */
const MAX_INDEX_BYTES = 8 * 1024 * 1024
/** Memory of parsed items per byte of their JSON. */
const BYTES_PER_TEXT_BYTE = 3
/** Infos that change do so seldom while the Hub cannot be asked. A repo that is added ends an index at once. */
const INDEX_MS = 60_000
/** A page ends early when it has become this large: an item may name 50,000 files. */
const MAX_PAGE_BYTES = 8 * 1024 * 1024

interface Index {
  /** Undefined when there are too many. */
  readonly repos: readonly ListedRepo[] | undefined
  readonly textBytes: number
  readonly version: number
  /** When its making began. */
  readonly at: number
}

/** `hf` and Python print it. */
const WARNING =
  'HubmirrorStoredOnly; This mirror cannot ask the Hub now. This list has only repos that the mirror has stored.'

export class StoredLists {
  readonly #options: StoredListsOptions
  readonly #originBase: string
  readonly #indexes = new MemoryCache<Index>({
    maxBytes: 32 * 1024 * 1024,
    sizeOf: ({ textBytes }) => textBytes * BYTES_PER_TEXT_BYTE,
  })
  readonly #making = new SingleFlight<Index | undefined>()

  constructor(options: StoredListsOptions) {
    this.#options = options
    this.#originBase = withoutTrailingSlash(options.originBase.href)
  }

  /**
   * One page of a list, once the Hub cannot be reached. While it answers, if only by an error, a list of what is stored would hide
   * what another try brings. Undefined also when nothing is stored, the query asks for what is not known, or the page before has
   * ended at a repo that is not there any more. Rules decide about each repo in it. They must not ask the Hub about each, so a
   * list that they are about does not go on when the Hub is back.
   */
  async page(ctx: Ctx, { target }: DocumentRoute): Promise<DocumentFact | undefined> {
    const { policies, client, offline } = this.#options
    const { path, query: text } = splitTarget(target)
    const query = new URLSearchParams(text)
    const isJudged = policies.hasRules || ctx.checkScope !== undefined
    const isAway = offline || client.isRecentlyUnreachable()
    if (!isAway && (isJudged || !isListCursor(query))) return undefined
    const mayShow = (repo: Repo) => (isJudged ? this.#mayShow(ctx, repo) : Promise.resolve(true))
    const type = typeOfApiSegment(path.slice('/api/'.length))
    const question = readListQuestion(query)
    if (type === undefined || question === undefined) return undefined
    const index = await this.#index(type)
    const found = index?.repos && matchingRepos(index.repos, question)
    if (found === undefined) return undefined
    const items: string[] = []
    let bytes = 0
    let last: ListedRepo | undefined
    for (const listed of found) {
      if (items.length === question.limit || bytes > MAX_PAGE_BYTES) {
        const link = last && this.#link(path, query, last)
        return answer(items, link)
      }
      last = listed
      const item = await this.#item(listed, needsInfo(question), mayShow)
      if (item === undefined) continue
      const json = JSON.stringify(composeItem(item, question))
      items.push(json)
      bytes += json.length
    }
    return answer(items, undefined)
  }

  #link(path: string, query: URLSearchParams, last: ListedRepo): string {
    const more = new URLSearchParams(query)
    more.set('cursor', cursorAfter(last.id))
    return `<${this.#originBase}${path}?${more.toString()}>; rel="next"`
  }

  /** Undefined when the repo is not public any more, or must not be shown. */
  async #item(
    { repo, item }: ListedRepo,
    isWhole: boolean,
    mayShow: (repo: Repo) => Promise<boolean>,
  ): Promise<ListedRepo['item'] | undefined> {
    const { access, implied } = this.#options
    if (!(await access.lastKnownPublic(repo)) || !(await mayShow(repo))) return undefined
    if (!isWhole) return item
    await yieldToEventLoop()
    return implied.ofRepo(repo)
  }

  /** Whether the rules, and the scope of a mirror token, let the caller have the info of the repo from the store. */
  async #mayShow(ctx: Ctx, repo: Repo): Promise<boolean> {
    const target = `/api/${repoKey(repo)}`
    const about = { repo, revision: undefined, target, immutable: false } as const
    try {
      ctx.checkScope?.(repo)
      const admission = await this.#options.policies.admit(ctx, {
        kind: 'document',
        document: 'repo',
        ...about,
      })
      return admission?.mayStore(undefined) !== false
    } catch (error) {
      if (error instanceof MirrorError && DENIALS.has(error.code)) return false
      throw error
    }
  }

  #index(type: RepoType): Promise<Index | undefined> {
    const { metadata, monotonic } = this.#options
    const known = this.#indexes.get(type)
    const isFresh =
      known !== undefined && known.version === metadata.repos.version && monotonic() - known.at < INDEX_MS
    return isFresh ? Promise.resolve(known) : this.#making.run(type, () => this.#make(type))
  }

  async #make(type: RepoType): Promise<Index | undefined> {
    const { metadata, implied, monotonic } = this.#options
    const { version } = metadata.repos
    const at = monotonic()
    const byId = new Map<string, ListedRepo>()
    let textBytes = 0
    for await (const repo of metadata.repos.listPublic()) {
      if (repo.type !== type) continue
      const info = await implied.ofRepo(repo)
      const kind = accessOf(info)
      if (kind === 'private' || kind === 'gated') continue
      const item = listedItem(info)
      const { id } = item
      if (typeof id !== 'string') continue
      // A renamed repo is known by both names.
      const before = byId.get(id.toLowerCase())
      if (before === undefined || repo.id === id) byId.set(id.toLowerCase(), { repo, id, item })
      textBytes += JSON.stringify(item).length
      if (byId.size > MAX_REPOS || textBytes > MAX_INDEX_BYTES)
        return this.#keep(type, { repos: undefined, textBytes: 0, version, at })
      await yieldToEventLoop()
    }
    // A mirror that has nothing of this kind knows nothing about it.
    if (byId.size === 0) return undefined
    return this.#keep(type, { repos: [...byId.values()], textBytes, version, at })
  }

  #keep(type: RepoType, index: Index): Index {
    this.#indexes.set(type, index)
    return index
  }
}

const DENIALS: ReadonlySet<ErrorCode> = new Set(['policy_denied', 'mirror_token_scope'])

export interface StoredListsOptions {
  readonly client: Pick<OriginClient, 'isRecentlyUnreachable'>
  readonly offline: boolean
  readonly policies: Pick<Policies, 'hasRules' | 'admit'>
  readonly metadata: Metadata
  readonly access: Access
  readonly implied: Implied
  readonly originBase: URL
  readonly monotonic: () => number
}

function answer(items: readonly string[], link: string | undefined): DocumentFact {
  return {
    body: Buffer.from(`[${items.join(',')}]`),
    contentType: 'application/json; charset=utf-8',
    link,
    headers: { 'x-hf-warning': WARNING },
  }
}
