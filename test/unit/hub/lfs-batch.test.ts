import * as fc from 'fast-check'
import { expect, it } from 'vitest'
import { lfsOperation } from '../../../src/hub/lfs-batch.ts'

const read = (text: string) => lfsOperation(Buffer.from(text))

it.each(['download', 'upload'] as const)('reads %s where it stands once', (operation) => {
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
])('finds %j unclear', (text) => {
  expect(read(text)).toBe('unclear')
})

it('finds every other key beside it without harm', () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (more) => {
      const others = Object.entries(more).filter(([key]) => key.toLowerCase() !== 'operation')
      const text = JSON.stringify({ ...Object.fromEntries(others), operation: 'download' })
      expect(read(text)).toBe('download')
      expect(read(`${text.slice(0, -1)},"operation":"upload"}`)).toBe('unclear')
    }),
  )
})
