import { randomBytes } from 'node:crypto'
import * as fc from 'fast-check'
import { expect, it } from 'vitest'
import { parseRepoId, type RepoId } from '../../../src/hub/names.ts'
import { type TransferLink, TransferLinks } from '../../../src/server/transfers/transfer-links.ts'

const KEY = randomBytes(32)
const START_AT = 1_800_000_000_000
const LINK: TransferLink = {
  url: new URL('https://cdn.example/a/b?Signature=secret'),
  method: 'PUT',
  repo: { type: 'dataset', id: parseRepoId('org/name') as RepoId },
  oid: 'a'.repeat(64),
  sizeBytes: 5,
  headers: { 'x-amz-acl': 'private' },
  mayStore: true,
  expiresAt: START_AT + 1_000,
  content: 'whole',
}
const refused = expect.objectContaining({ code: 'transfer_link_refused' }) as unknown as Error

it('a mirror opens the links that it sealed, until they expire', () => {
  let now = START_AT
  const links = new TransferLinks(KEY, () => now)
  const sealed = links.seal(LINK) ?? ''
  expect(sealed).toMatch(/^[\w-]+$/)
  expect(Buffer.from(sealed, 'base64url').toString('latin1')).not.toContain('secret')
  expect(links.open(sealed)).toEqual(LINK)
  expect(links.seal(LINK)).not.toBe(sealed)
  now += 1_000
  expect(() => links.open(sealed)).toThrow(refused)
})

it.each([undefined, { upload: 'u', number: 2, count: 3, chunkBytes: 4 }])(
  'a link says what the body of its upload must be (%j)',
  (content) => {
    const links = new TransferLinks(KEY, () => START_AT)
    expect(links.open(links.seal({ ...LINK, content }) ?? '')).toEqual({ ...LINK, content })
  },
)

it('a mirror opens no link that was changed, cut or sealed with another key', () => {
  const links = new TransferLinks(KEY, () => START_AT)
  const bytes = Buffer.from(links.seal(LINK) ?? '', 'base64url')
  fc.assert(
    fc.property(fc.nat(bytes.length * 8 - 1), (bit) => {
      const changed = Buffer.from(bytes)
      changed.writeUInt8(changed.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3)
      expect(() => links.open(changed.toString('base64url'))).toThrow(refused)
    }),
  )
  fc.assert(
    fc.property(fc.string(), (text) => {
      expect(() => links.open(text)).toThrow(refused)
    }),
  )
  for (let length = 0; length < bytes.length; length += 7)
    expect(() => links.open(bytes.subarray(0, length).toString('base64url'))).toThrow(refused)
  expect(() => new TransferLinks(randomBytes(32), () => START_AT).open(bytes.toString('base64url'))).toThrow(
    refused,
  )
})

it('a mirror makes no link that is too long for a request target', () => {
  const links = new TransferLinks(KEY, () => START_AT)
  expect(links.seal({ ...LINK, url: new URL(`https://cdn.example/${'a'.repeat(4_000)}`) })).toBeDefined()
  expect(links.seal({ ...LINK, url: new URL(`https://cdn.example/${'a'.repeat(6_000)}`) })).toBeUndefined()
})
