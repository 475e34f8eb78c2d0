import * as fc from 'fast-check'
import { expect, it } from 'vitest'
import {
  contentBytes,
  lfsOperation,
  rewriteBatchAnswer,
  type TransferUrl,
  withoutXet,
} from '../../../src/hub/lfs-batch.ts'

const read = (text: string) => lfsOperation(Buffer.from(text))

it.each(['download', 'upload'] as const)('%s is read if it is unambiguous', (operation) => {
  expect(read(JSON.stringify({ operation, objects: [{ oid: 'a', operation: 'x' }] }))).toBe(operation)
  expect(
    read(`{ "transfers" : ["operation"],\n "note": "a \\" operation\\": {", "operation"\t: "${operation}" }`),
  ).toBe(operation)
  expect(read(`{"oper\\u0061tion":"${operation}"}`)).toBe(operation)
})

it.each([
  '{"operation":"upload","operation":"download"}',
  '{"operation":"download","operation":"upload"}',
  '{"operation":"download","operation":"download"}',
  '{"oper\\u0061tion":"upload","operation":"download"}',
  '{"Operation":"upload","operation":"download"}',
  '{"operation":"download","objects":[{}],"OPERATION":"upload"}',
  '{"operation":"Download"}',
  '{"operation":"verify"}',
  '{"operation":["download"]}',
  '{"operation":"download",}',
  '\uFEFF{"operation":"download"}',
  '{"objects":[]}',
  '["operation","download"]',
  '"operation"',
  'null',
  '',
])('%j is ambiguous', (text) => {
  expect(read(text)).toBe('unclear')
})

it('every other key beside it does no harm', () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (more) => {
      const others = Object.entries(more).filter(([key]) => key.toLowerCase() !== 'operation')
      const text = JSON.stringify({ ...Object.fromEntries(others), operation: 'download' })
      expect(read(text)).toBe('download')
      expect(read(`${text.slice(0, -1)},"operation":"upload"}`)).toBe('unclear')
    }),
  )
})

it.each([
  [
    '{"operation":"upload","transfers":["basic","xet"],"n":1}',
    '{"operation":"upload","n":1,"transfers":["basic"]}',
  ],
  ['{"operation":"upload","transfers":["xet"]}', '{"operation":"upload"}'],
])('the offer of Xet is removed from %s', (body, left) => {
  expect(withoutXet(Buffer.from(body)).toString()).toBe(left)
})

it.each(['{"transfers":["basic"] }', '{"transfers":"xet"}', '{ }', '["xet"]', 'xet', ''])(
  '%s stays unchanged',
  (text) => {
    const body = Buffer.from(text)
    expect(withoutXet(body)).toBe(body)
  },
)

it('a batch that is nested too deep to be written again stays unchanged', async () => {
  const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`
  const body = Buffer.from(`{"operation":"download","transfers":["xet"],"x":${deep}}`)
  expect(withoutXet(body)).toBe(body)
  expect(await rewriteBatchAnswer(Buffer.from(`{"objects":[],"x":${deep}}`), () => 'x')).toBeUndefined()
})

it('each address of an answer is named with its purpose, and nothing else changes', async () => {
  const seen: TransferUrl[] = []
  const turn = (link: TransferUrl): string => `turned:${seen.push(link)}`
  const header = { chunk_size: '5', '00001': 'p1', '00002': 'p2', 'X-Amz-Acl': 'private' }
  const answer = {
    transfer: 'multipart',
    objects: [
      {
        oid: 'a',
        size: 1,
        actions: { upload: { href: 'end', header, expires_in: 60 }, verify: { href: 'v' } },
      },
      { oid: 'b', size: 2, actions: { download: { href: 'd', header: { '1': 'no part' } } } },
      { oid: 'c', size: 3, error: { code: 404, message: 'gone' } },
      { oid: 'd', size: 4 },
      null,
    ],
  }
  expect(JSON.parse(String(await rewriteBatchAnswer(Buffer.from(JSON.stringify(answer)), turn)))).toEqual({
    transfer: 'multipart',
    objects: [
      {
        oid: 'a',
        size: 1,
        actions: {
          upload: {
            href: 'turned:3',
            header: { ...header, '00001': 'turned:1', '00002': 'turned:2' },
            expires_in: 60,
          },
          verify: { href: 'turned:4' },
        },
      },
      { oid: 'b', size: 2, actions: { download: { href: 'turned:5', header: { '1': 'no part' } } } },
      ...answer.objects.slice(2),
    ],
  })
  expect(
    seen.map(({ url, method, oid, headers, lifeSeconds }) => [url, method, oid, headers, lifeSeconds]),
  ).toEqual([
    ['p1', 'PUT', 'a', {}, 60],
    ['p2', 'PUT', 'a', {}, 60],
    ['end', 'POST', 'a', { 'X-Amz-Acl': 'private' }, 60],
    ['v', 'POST', 'a', {}, undefined],
    ['d', 'GET', 'b', { '1': 'no part' }, undefined],
  ])
})

/** What the requests for the addresses of one action must bring, by address. */
async function contentsOf(action: object, more: object = {}, object: object = { oid: 'a', size: 12 }) {
  const seen: Record<string, TransferUrl['content']> = {}
  const answer = { transfer: 'multipart', objects: [{ ...object, actions: { upload: action } }], ...more }
  await rewriteBatchAnswer(Buffer.from(JSON.stringify(answer)), ({ url, content }) => {
    seen[url] = content
    return url
  })
  return seen
}

it('an upload in parts says which bytes each of them has', async () => {
  const header = { chunk_size: '5', '00001': 'p1', '00002': 'p2', '00003': 'p3' }
  const { p1, p2, p3, end } = await contentsOf({ href: 'end', header })
  const sizes = [p1, p2, p3].map((content) => content && contentBytes(content, 12))
  expect([sizes, end]).toEqual([[5, 5, 2], undefined])
  expect([p1, p2, p3]).toMatchObject([1, 2, 3].map((number) => ({ number, count: 3, chunkBytes: 5 })))
  const [first, second] = [
    await contentsOf({ href: 'end', header }),
    await contentsOf({ href: 'other end', header }),
  ]
  expect([first['p1'], second['p1']].map((part) => typeof part === 'object' && part.upload)).toEqual([
    (p1 as { upload: string }).upload,
    expect.not.stringMatching((p1 as { upload: string }).upload),
  ])
})

it.each([
  ['one part too few', { chunk_size: '5', '00001': 'p1' }, {}],
  ['a part with another number', { chunk_size: '5', '00001': 'p1', '00002': 'p2', '00004': 'p4' }, {}],
  ['no size of the parts', { chunk_size: 'x', '00001': 'p1' }, {}],
  ['a transfer of another kind', { chunk_size: '12', '00001': 'p1' }, { transfer: 'tus' }],
])('of an upload with %s, nothing is said about the bytes', async (_how, header, more) => {
  const contents = await contentsOf({ href: 'end', header }, more)
  expect(Object.values(contents).at(-2)).toBeUndefined()
})

it.each([
  ['basic', { transfer: 'basic' }, { oid: 'a', size: 12 }, 'whole'],
  ['not named', { transfer: undefined }, { oid: 'a', size: 12 }, 'whole'],
  ['another', { transfer: 'tus' }, { oid: 'a', size: 12 }, undefined],
  ['basic, and the size is not', {}, { oid: 'a' }, undefined],
])(
  'an upload in one request has the whole object, if the transfer is %s',
  async (_how, more, object, content) => {
    expect(await contentsOf({ href: 'put', header: {} }, more, object)).toEqual({ put: content })
  },
)

it.each(['', '[]', '{}', '{"objects":{}}', '<html>'])('%s is no answer to a batch', async (text) => {
  expect(await rewriteBatchAnswer(Buffer.from(text), () => 'x')).toBeUndefined()
})
