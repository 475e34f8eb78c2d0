// Makes a list of repos from what is known of each, as /api/models and its sisters send it. Pure. A query that cannot be
// answered from that makes no list: it would look like the answer to another question.

import { parseRepoId, type Repo } from '../../hub/names.ts'
import { splitTarget } from '../../hub/url-text.ts'
import { commitOfCursor, type Info, isTrue } from './compose.ts'

/** A repo in a list. */
export interface ListedRepo {
  readonly repo: Repo
  /** The name that the Hub uses. */
  readonly id: string
  /** What lists show of it without being asked for more. */
  readonly item: Info
}

/** What a client asks of a list. */
export interface ListQuestion {
  /** All of them are in the id. */
  readonly search: readonly string[]
  readonly author: string | undefined
  /** All of them are tags of the repo. */
  readonly tags: readonly string[]
  readonly gated: boolean | undefined
  readonly sort: string | undefined
  readonly isAscending: boolean
  readonly limit: number
  /** The id of the last repo on the page before. */
  readonly after: string | undefined
  /** The names of the requested fields; undefined for those that a list has. */
  readonly fields: readonly string[] | undefined
  /** Fields in addition to those. */
  readonly extra: readonly string[]
}

const PAGE_SIZE = 1000
const CURSOR = 'hubmirror.list.'
/** What the items of lists have, as far as it is known. The Hub sends some of them on request only. */
const LISTED: ReadonlySet<string> = new Set(
  [
    '_id id modelId author sha lastModified createdAt private gated disabled downloads likes trendingScore',
    'tags pipeline_tag library_name sdk',
  ].flatMap((line) => line.split(' ')),
)
/** What the Hub sorts by, in the spellings of its clients. */
const SORTS: ReadonlyMap<string, string> = new Map([
  ['downloads', 'downloads'],
  ['likes', 'likes'],
  ['lastModified', 'lastModified'],
  ['last_modified', 'lastModified'],
  ['createdAt', 'createdAt'],
  ['created_at', 'createdAt'],
  ['trendingScore', 'trendingScore'],
  ['trending_score', 'trendingScore'],
])

const TIMES: ReadonlySet<string> = new Set(['lastModified', 'createdAt'])

/** Undefined for a query that asks for what stored infos do not say, and for one that no client sends. */
export function readListQuestion(query: URLSearchParams): ListQuestion | undefined {
  const search: string[] = []
  const tags: string[] = []
  const fields: string[] = []
  const extra: string[] = []
  const read: Partial<Record<'author' | 'gated' | 'sort' | 'direction' | 'limit' | 'cursor', string>> = {}
  for (const [name, value] of query) {
    if (value === '') continue
    switch (name) {
      case 'search':
        search.push(value.toLowerCase())
        break
      case 'filter':
      case 'pipeline_tag':
        tags.push(...value.split(',').map((tag) => tag.toLowerCase()))
        break
      case 'expand':
      case 'expand[]':
        fields.push(value)
        break
      case 'full':
        if (isTrue(value)) extra.push('siblings', 'cardData', 'description')
        break
      case 'cardData':
      case 'config':
        if (isTrue(value)) extra.push(name)
        break
      case 'author':
      case 'gated':
      case 'sort':
      case 'direction':
      case 'limit':
      case 'cursor':
        read[name] = value
        break
      default:
        return undefined
    }
  }
  const { author, gated, sort, direction, limit, cursor } = read
  const sortField = sort === undefined ? undefined : SORTS.get(sort)
  const after = cursor === undefined ? undefined : idOfCursor(cursor)
  if ((sort !== undefined && sortField === undefined) || (cursor !== undefined && after === undefined))
    return undefined
  if (limit !== undefined && !/^[1-9]\d{0,8}$/.test(limit)) return undefined
  return {
    search,
    author: author?.toLowerCase(),
    tags,
    gated: gated === undefined ? undefined : isTrue(gated),
    sort: sortField,
    // The Hub sorts downwards, unless it is asked for the other direction.
    isAscending: direction === '1',
    limit: Math.min(Number(limit ?? PAGE_SIZE), PAGE_SIZE),
    after,
    fields: fields.length === 0 ? undefined : fields,
    extra,
  }
}

function idOfCursor(cursor: string): string | undefined {
  return cursor.startsWith(CURSOR) ? parseRepoId(cursor.slice(CURSOR.length)) : undefined
}

/** A cursor for what follows a repo. */
export function cursorAfter(id: string): string {
  return `${CURSOR}${id}`
}

/** Whether the request continues a list that was composed here, which the Hub does not know. */
export function isListCursor(query: URLSearchParams): boolean {
  return query.get('cursor')?.startsWith(CURSOR) === true
}

/** Whether the request continues a list or a listing that was composed here, which the Hub does not know. */
export function isComposedPage(target: string): boolean {
  if (!target.includes('cursor=hubmirror.')) return false
  const query = new URLSearchParams(splitTarget(target).query)
  return commitOfCursor(query) !== undefined || isListCursor(query)
}

/**
 * The repos that the question asks for, in its order, from where its cursor leads to. A repo of which a field is not known does not
 * match a condition on that field, and comes last in an order by it. Undefined when the repo in the cursor is not there any more.
 */
export function matchingRepos(
  repos: readonly ListedRepo[],
  question: ListQuestion,
): readonly ListedRepo[] | undefined {
  const { after, sort, isAscending } = question
  const found = repos.filter((repo) => matches(repo, question))
  found.sort((one, other) => {
    const [left, right] = sort === undefined ? [] : [sortValue(one, sort), sortValue(other, sort)]
    if (left === right) return compareTexts(one.id, other.id)
    if (left === undefined || right === undefined) return left === undefined ? 1 : -1
    return isAscending ? left - right : right - left
  })
  if (after === undefined) return found
  const at = found.findIndex(({ id }) => id === after)
  return at === -1 ? undefined : found.slice(at + 1)
}

function matches({ id, item }: ListedRepo, { search, author, tags, gated }: ListQuestion): boolean {
  const name = id.toLowerCase()
  if (!search.every((text) => name.includes(text))) return false
  if (author !== undefined && !name.startsWith(`${author}/`)) return false
  // Only public repos are listed, and no gated one is public.
  if (gated === true) return false
  if (tags.length === 0) return true
  const known = [item['tags'], item['pipeline_tag'], item['library_name']].flat()
  const all = new Set(known.filter((tag) => typeof tag === 'string').map((tag) => tag.toLowerCase()))
  return tags.every((tag) => all.has(tag))
}

/** A number, or a time as the Hub writes it. Undefined for what cannot be compared by this field. */
function sortValue({ item }: ListedRepo, field: string): number | undefined {
  const value = item[field]
  const number = TIMES.has(field) && typeof value === 'string' ? Date.parse(value) : value
  return typeof number === 'number' && Number.isFinite(number) ? number : undefined
}

function compareTexts(one: string, other: string): number {
  return one < other ? -1 : one > other ? 1 : 0
}

/** Of an info, what lists show without being asked for more. */
export function listedItem(info: Info): Info {
  return Object.fromEntries(Object.entries(info).filter(([name]) => LISTED.has(name)))
}

/** Whether `listedItem` has too little for the question. */
export function needsInfo({ fields, extra }: ListQuestion): boolean {
  return fields === undefined ? extra.length > 0 : fields.some((field) => !LISTED.has(field))
}

/** The item as the question asks for it. It lacks the fields that are not known. */
export function composeItem(info: Info, { fields, extra }: ListQuestion): Info {
  if (fields === undefined && extra.length === 0) return listedItem(info)
  const wanted = new Set(fields === undefined ? [...LISTED, ...extra] : ['_id', 'id', ...fields])
  return Object.fromEntries(Object.entries(info).filter(([name]) => wanted.has(name)))
}
