import { expect, it } from 'vitest'
import {
  composeItem,
  cursorAfter,
  type ListedRepo,
  listedItem,
  matchingRepos,
  needsInfo,
  readListQuestion,
} from '../../../src/mirror/documents/compose-list.ts'
import { repo } from '../hub/repo.ts'

const asked = (query: string) => readListQuestion(new URLSearchParams(query))

const listed = (id: string, item: Record<string, unknown> = {}): ListedRepo => ({
  repo: repo(id),
  id,
  item: { id, ...item },
})
const REPOS = [
  listed('b/two', { downloads: 5, tags: ['License:MIT', 7], lastModified: '2026-02-01T00:00:00.000Z' }),
  listed('a/three', { downloads: 'many', library_name: 'transformers' }),
  listed('B/one', { downloads: 9, pipeline_tag: 'fill-mask', lastModified: '2026-01-01T00:00:00.000Z' }),
]
const found = (query: string) => {
  const question = asked(query)
  return question && matchingRepos(REPOS, question)?.map(({ id }) => id)
}

it.each([
  ['', ['B/one', 'a/three', 'b/two']],
  ['search=T', ['a/three', 'b/two']],
  ['search=t&search=W', ['b/two']],
  ['author=b', ['B/one', 'b/two']],
  ['filter=license%3Amit', ['b/two']],
  ['filter=transformers,none', []],
  ['filter=transformers', ['a/three']],
  ['pipeline_tag=fill-mask', ['B/one']],
  ['gated=true', []],
  ['gated=false&limit=1', ['B/one', 'a/three', 'b/two']],
  ['sort=downloads', ['B/one', 'b/two', 'a/three']],
  ['sort=downloads&direction=1', ['b/two', 'B/one', 'a/three']],
  ['sort=last_modified&direction=-1', ['b/two', 'B/one', 'a/three']],
  ['sort=trendingScore', ['B/one', 'a/three', 'b/two']],
  [`cursor=${encodeURIComponent(cursorAfter('B/one'))}`, ['a/three', 'b/two']],
  [`cursor=${encodeURIComponent(cursorAfter('b/two'))}`, []],
  [`cursor=${encodeURIComponent(cursorAfter('b/gone'))}`, undefined],
])('the list of "%s" is %j', (query, ids) => {
  expect(found(query)).toEqual(ids)
})

it.each(['apps=vllm', 'sort=id', 'limit=0', 'limit=1e9', 'cursor=hubmirror.list.%2E%2E', 'cursor=x', 'q=x'])(
  'no list is made for "%s"',
  (query) => {
    expect(asked(query)).toBeUndefined()
  },
)

it('an item has what lists have, and what is asked for in addition, as far as it is known', () => {
  const info = { _id: '1', id: 'a/b', tags: ['x'], siblings: [], cardData: {}, config: {}, usedStorage: 3 }
  const fields = (query: string) => {
    const question = asked(query)
    return question && [needsInfo(question), ...Object.keys(composeItem(info, question)).toSorted()]
  }
  expect(fields('')).toEqual([false, '_id', 'id', 'tags'])
  expect(Object.keys(listedItem(info))).toEqual(['_id', 'id', 'tags'])
  expect(fields('full=false&config=False')).toEqual([false, '_id', 'id', 'tags'])
  expect(fields('full=1')).toEqual([true, '_id', 'cardData', 'id', 'siblings', 'tags'])
  expect(fields('config=true')).toEqual([true, '_id', 'config', 'id', 'tags'])
  expect(fields('expand=tags&expand[]=likes')).toEqual([false, '_id', 'id', 'tags'])
  expect(fields('expand=usedStorage')).toEqual([true, '_id', 'id', 'usedStorage'])
})
