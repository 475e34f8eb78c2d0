import { expect, it } from 'vitest'
import {
  commitOfCursor,
  composeInfo,
  composePathsInfo,
  composeRefs,
  composeTree,
  cursorAt,
  fileItem,
  type InfoFacts,
  parseItems,
  readInfoQuestion,
  readPathsQuestion,
  readTreeQuestion,
  siblingsOf,
  type TreeItem,
  withDirectories,
} from '../../../src/mirror/documents/compose.ts'
import { World } from '../../hub-simulator/repos.ts'
import { commit, repo } from '../hub/repo.ts'

const REPO = repo('org/name')
const C = commit('c')
const OID = 'a'.repeat(40)
const file = (path: string): TreeItem => ({ type: 'file', path, oid: OID, size: 1 })
const FILES = ['a.txt', 'b/c.txt', 'b/d/e.txt', 'b2/f.txt'].map(file)

it('ids of directories and of LFS pointers are those that Git computes', () => {
  const world = new World()
  const made = world.model('org/name')
  made.commit({ 'a.txt': 'a', 'a/b.txt': 'b', 'a.b/c.txt': 'c', 'x/y/z.txt': 'z', 'ü/é.txt': 'é' })
  const head = made.resolve('main')
  const files = [...(head?.files.values() ?? [])].map(({ path, oid, content }) =>
    fileItem(path, { size: content.sizeBytes, blobId: oid }),
  )
  const directories = withDirectories(files).filter(({ type }) => type === 'directory')
  const right = [...(head?.trees ?? [])].filter(([path]) => path !== '')
  expect(new Map(directories.map(({ path, oid }) => [path, oid]))).toEqual(new Map(right))
  // As the Hub says of a file of this size.
  expect(fileItem('x', { size: 25_888_640, sha256: 'e'.repeat(64) }).lfs?.pointerSize).toBe(133)
})

it.each([
  ['', { recursive: false, expand: false, limit: 1000, start: 0 }],
  ['recursive=true&expand=false', { recursive: true, expand: false, limit: 1000, start: 0 }],
  ['recursive=True&expand=True', { recursive: true, expand: true, limit: 100, start: 0 }],
  ['recursive=1&limit=5', { recursive: true, expand: false, limit: 5, start: 0 }],
  ['limit=0', { recursive: false, expand: false, limit: 1000, start: 0 }],
  ['limit=-1', { recursive: false, expand: false, limit: 1000, start: 0 }],
  ['limit=5000', { recursive: false, expand: false, limit: 1000, start: 0 }],
  [`cursor=${cursorAt(C, 7)}`, { recursive: false, expand: false, limit: 1000, start: 7 }],
])('the question %s is read', (query, right) => {
  expect(readTreeQuestion('p', new URLSearchParams(query))).toEqual({ path: 'p', ...right })
})

it.each(['cursor=eyJwb3NpdGlvbiI6MX0', 'cursor=hubmirror.c.1', `cursor=hubmirror.${C}.-1`, 'x=1'])(
  '%s is no question that can be composed',
  (query) => {
    expect(readTreeQuestion('', new URLSearchParams(query))).toBeUndefined()
    expect(commitOfCursor(new URLSearchParams(query))).toBeUndefined()
  },
)

it('pages together are the listing, and a folder differs from a name with the same beginning', () => {
  const question = { path: '', recursive: true, expand: false, limit: 3, start: 0 }
  const items = withDirectories(FILES)
  const seen: string[] = []
  let start: number | undefined = 0
  while (start !== undefined) {
    const composed = composeTree(items, { ...question, start })
    if (composed === 'absent') throw new Error('absent')
    seen.push(...composed.page.map(({ path }) => path))
    start = composed.next
  }
  expect(seen).toEqual(items.map(({ path }) => path))
  const inB = composeTree(items, { ...question, path: 'b', recursive: false })
  expect(inB).toMatchObject({ page: [{ path: 'b/c.txt' }, { path: 'b/d', type: 'directory' }] })
  for (const path of ['nothing', 'a.txt', 'b/c'])
    expect(composeTree(items, { ...question, path })).toBe('absent')
  expect(composeTree([], question)).toEqual({ page: [], next: undefined })
})

it('changes made after a commit are included only on request', () => {
  const items = [{ ...file('a'), lastCommit: { id: C }, securityFileStatus: { status: 'safe' } }]
  // However often it is named: the answer would be hundreds of times as long as the question.
  const plain = composePathsInfo(items, { paths: ['a', 'a/', 'none', 'a'], expand: false })
  expect(plain).toEqual([file('a')])
  expect(composePathsInfo(items, { paths: ['a'], expand: true })).toEqual(items)
})

it.each([
  [undefined, 'paths=a+b&paths=c%2Fd&expand=True', { paths: ['a b', 'c/d'], expand: true }],
  ['application/x-www-form-urlencoded', '', { paths: [], expand: false }],
  ['application/json', '{"paths":["a"],"expand":true}', { paths: ['a'], expand: true }],
  ['application/json', '{"paths":"a"}', { paths: ['a'], expand: false }],
  ['application/json', '{"paths":[1]}', undefined],
  ['application/json', '{"paths":', undefined],
  ['application/json', 'null', undefined],
])('paths of %s are read as %s', (type, body, right) => {
  expect(readPathsQuestion(type, Buffer.from(body))).toEqual(right)
})

it.each([
  '{}',
  '[1]',
  '[{"type":"file","path":"a"}]',
  '[{"type":"link","path":"a","oid":"b","size":1}]',
  '[',
])('%s is no listing', (body) => {
  expect(parseItems(body)).toBeUndefined()
})

it('an info of a very large repo does not prove that it names every file', () => {
  const siblings = Array.from({ length: 50_000 }, (_, index) => ({ rfilename: `${index}` }))
  expect(siblingsOf({ siblings })).toBeUndefined()
  expect(siblingsOf({ siblings: siblings.slice(1) })).toHaveLength(49_999)
  expect(siblingsOf({ siblings: [{}] })).toBeUndefined()
  expect(siblingsOf({})).toBeUndefined()
  const info = { id: 'org/name', sha: C, siblings }
  const facts = { repo: REPO, name: 'org/name', commit: C, info, other: undefined, items: undefined }
  // What the Hub said of it is said again, with digests it cannot be.
  expect(composeInfo(facts, { blobs: false, fields: undefined })).toEqual(info)
  expect(composeInfo(facts, { blobs: true, fields: undefined })).toBeUndefined()
})

it('an info is made from a listing alone, without invented fields', () => {
  const facts: InfoFacts = {
    repo: REPO,
    name: 'org/name',
    commit: C,
    info: undefined,
    other: { id: 'org/name', sha: commit('d'), likes: 7, tags: ['of another commit'] },
    items: FILES,
  }
  expect(composeInfo(facts, { blobs: false, fields: undefined })).toEqual({
    id: 'org/name',
    modelId: 'org/name',
    author: 'org',
    private: false,
    gated: false,
    disabled: false,
    likes: 7,
    sha: C,
    siblings: FILES.map(({ path }) => ({ rfilename: path })),
  })
  const fields = (query: string) => {
    const question = readInfoQuestion(new URLSearchParams(query))
    return question && composeInfo(facts, question)
  }
  expect(fields('expand=likes&expand[]=sha')).toEqual({ id: 'org/name', likes: 7, sha: C })
  expect(fields('expand=tags')).toBeUndefined()
  expect(fields('expand=lastModified')).toBeUndefined()
  // Clients must expect that a repo has none.
  expect(fields('expand=pipeline_tag&expand=sha')).toEqual({ id: 'org/name', sha: C })
  const madeAt = '2025-01-02T03:04:05.000Z'
  expect(composeInfo({ ...facts, madeAt }, { blobs: false, fields: ['lastModified'] })).toEqual({
    id: 'org/name',
    lastModified: madeAt,
  })
  expect(fields('securityStatus=true')).toBeUndefined()
})

it('a field that the Hub would omit is omitted, and one that it would send makes the composition fail', () => {
  const info = { _id: '1', id: 'org/name', sha: C, private: false, siblings: [] }
  const facts = { repo: REPO, name: 'org/name', commit: C, info, other: undefined, items: undefined }
  expect(composeInfo(facts, { blobs: false, fields: ['pipeline_tag', 'private'] })).toEqual({
    _id: '1',
    id: 'org/name',
    private: false,
  })
  expect(composeInfo(facts, { blobs: false, fields: ['trendingScore'] })).toBeUndefined()
})

it('a ref stands where the Hub has listed it, or else where its name says', () => {
  const told = {
    branches: [{ name: 'main', ref: 'refs/heads/main', targetCommit: OID }],
    tags: [{ name: 'stable', ref: 'refs/tags/stable', targetCommit: OID }, 'damage'],
    converts: 'damage',
  }
  const seen = ['main', 'stable', 'v1.0', '4.0bpw', 'refs/pr/3', 'refs/convert/parquet', 'refs/heads/dev']
  const refs = composeRefs(
    told,
    seen.map((revision) => ({ revision, commit: C })),
    true,
  )
  const names = Object.entries(refs).map(([kind, list]) => [kind, ...list.map(({ ref }) => ref)])
  expect(names).toEqual([
    ['branches', 'refs/heads/main', 'refs/heads/4.0bpw', 'refs/heads/dev'],
    ['converts', 'refs/convert/parquet'],
    ['tags', 'refs/tags/stable', 'refs/tags/v1.0'],
    ['pullRequests', 'refs/pr/3'],
  ])
  const targets = Object.values(refs).flatMap((list) => list.map(({ targetCommit }) => targetCommit))
  expect(new Set(targets)).toEqual(new Set([C]))
  expect(Object.keys(composeRefs(undefined, [], false))).toEqual(['branches', 'converts', 'tags'])
})
