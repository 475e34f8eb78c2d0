import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  createMirrorToken,
  holdsMirrorToken,
  isWellFormed,
  looksLikeMirrorToken,
} from '../../../src/callers/mirror-token.ts'

describe('a mirror token', () => {
  it('is hf_mirror and 40 letters and digits, new each time, which every client takes', () => {
    const tokens = Array.from({ length: 200 }, createMirrorToken)
    expect(new Set(tokens).size).toBe(200)
    for (const token of tokens) {
      expect(token).toMatch(/^hf_mirror[A-Za-z0-9]{40}$/)
      // llama.cpp: hf_ and letters and digits, 37 to 256 in all.
      expect(token).toMatch(/^hf_[A-Za-z0-9]{34,253}$/)
      expect([isWellFormed(token), looksLikeMirrorToken(token), holdsMirrorToken(token)]).toEqual([
        true,
        true,
        true,
      ])
    }
  })

  it('that differs in one letter, or lacks some, is not whole, but still none for the Hub', () => {
    const token = createMirrorToken()
    fc.assert(
      fc.property(
        fc.integer({ min: 9, max: token.length - 1 }),
        fc.constantFrom('a', 'Z', '0', '9'),
        (at, letter) => {
          fc.pre(token.charAt(at) !== letter)
          const wrong = token.slice(0, at) + letter + token.slice(at + 1)
          expect([isWellFormed(wrong), holdsMirrorToken(wrong)]).toEqual([false, true])
          const short = token.slice(0, at)
          expect([isWellFormed(short), looksLikeMirrorToken(short)]).toEqual([false, true])
        },
      ),
    )
    expect([isWellFormed(`${token}a`), isWellFormed(''), looksLikeMirrorToken('hf_abc')]).toEqual([
      false,
      false,
      false,
    ])
  })

  it.each([
    (token: string) => `?token=${token}&x=1`,
    (token: string) => token.replace('hf_', 'hf%5F'),
    (token: string) => token.replace('hf_', 'hf%5f').replaceAll('m', '%6D'),
    (token: string) => token.replace('hf_', 'hf%255F'),
    (token: string) => `agent/1.0 (${token})`,
    (token: string) => token.slice(0, 25),
  ])('is found wherever it stands (%#)', (hide) => {
    expect(holdsMirrorToken(hide(createMirrorToken()))).toBe(true)
  })

  it.each([
    'hf_mirror/model',
    'hf_mirrors',
    'hf_mirror-weights-of-a-very-long-name',
    'hf_abcdefghijklmnopqrstuvwxyz',
    '%',
    '%zz',
  ])('is not found in "%s"', (text) => {
    expect(holdsMirrorToken(text)).toBe(false)
  })
})
