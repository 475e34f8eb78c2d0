import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type BlobKey, isBlobKey, Verifier } from '../../../src/store/digest.ts'

function gitKey(bytes: Uint8Array): BlobKey {
  const hex = execFileSync('git', ['hash-object', '--stdin'], { input: bytes }).toString().trim()
  return `gitsha1:${hex}`
}

function sha256Key(bytes: Uint8Array): BlobKey {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}

function feed(verifier: Verifier, bytes: Uint8Array, cuts: readonly number[]): Verifier {
  let from = 0
  for (const cut of [...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length]) {
    verifier.update(bytes.subarray(from, cut))
    from = cut
  }
  return verifier
}

describe('Verifier', () => {
  it.each([
    ['an empty file', Buffer.alloc(0)],
    ['a line', Buffer.from('hello\n')],
    ['a NUL and a newline', Buffer.from('\0\n\0')],
    ['a megabyte', Buffer.alloc(1_048_577, 'xyz')],
  ])('a verifier accepts %s under the id that git gives it', (_, bytes) => {
    expect(feed(new Verifier(gitKey(bytes), bytes.length), bytes, [1, 5]).matches()).toBe(true)
  })

  it('a verifier matches the same bytes in any pieces, and no others', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 1, maxLength: 500 }),
        fc.array(fc.nat(), { maxLength: 6 }),
        fc.nat(),
        (bytes, cuts, at) => {
          const key = sha256Key(bytes)
          expect(feed(new Verifier(key, bytes.length), bytes, cuts).matches()).toBe(true)
          const wrong = Uint8Array.from(bytes)
          wrong[at % wrong.length] = (wrong[at % wrong.length] ?? 0) ^ 1
          expect(feed(new Verifier(key, bytes.length), wrong, cuts).matches()).toBe(false)
        },
      ),
    )
  })

  it.each(['short', 'long'] as const)(
    'a verifier matches nothing that is too %s, with a digest or without',
    (how) => {
      const bytes = Buffer.from('0123456789')
      const sizeBytes = how === 'short' ? 11 : 9
      const opaque: BlobKey = `opaque:${'0'.repeat(64)}`
      for (const key of [sha256Key(bytes), opaque]) {
        expect(feed(new Verifier(key, sizeBytes), bytes, []).matches()).toBe(false)
      }
    },
  )

  it('a verifier checks an opaque key by the length alone', () => {
    expect(feed(new Verifier(`opaque:${'0'.repeat(64)}`, 3), Buffer.from('abc'), [1]).matches()).toBe(true)
  })

  it('a verifier is independent of its fork', () => {
    const bytes = Buffer.from('0123456789')
    const first = new Verifier(sha256Key(bytes), 10)
    first.update(bytes.subarray(0, 4))
    const fork = first.fork()
    first.update(Buffer.from('xxxxxx'))
    expect(fork.position).toBe(4)
    fork.update(bytes.subarray(4))
    expect(fork.matches()).toBe(true)
    expect(first.matches()).toBe(false)
  })
})

describe('isBlobKey', () => {
  it.each([
    ['sha256', 64],
    ['gitsha1', 40],
    ['opaque', 64],
  ])('a key of %s has %d digits, and no other length is accepted', (algorithm, length) => {
    expect(isBlobKey(`${algorithm}:${'a'.repeat(length)}`)).toBe(true)
    expect(isBlobKey(`${algorithm}:${'a'.repeat(length - 1)}`)).toBe(false)
    expect(isBlobKey(`${algorithm}:${'a'.repeat(length + 1)}`)).toBe(false)
  })

  it.each([
    `sha256:${'A'.repeat(64)}`,
    `sha256:${'a'.repeat(63)}/`,
    `sha256:${'a'.repeat(64)}\n`,
    `sha256:../${'a'.repeat(61)}`,
    `sha512:${'a'.repeat(64)}`,
    `partial:sha256:${'a'.repeat(64)}`,
    '',
  ])('%j is refused', (text) => {
    expect(isBlobKey(text)).toBe(false)
  })
})
