import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  containsMirrorToken,
  createMirrorToken,
  hasMirrorTokenPrefix,
  isWellFormed,
  resemblesMirrorToken,
} from '../../../src/callers/mirror-token.ts'

describe('a mirror token', () => {
  it('is hf_mirror and 40 letters and digits, new each time, which every client accepts', () => {
    const tokens = Array.from({ length: 200 }, createMirrorToken)
    expect(new Set(tokens).size).toBe(200)
    for (const token of tokens) {
      expect(token).toMatch(/^hf_mirror[A-Za-z0-9]{40}$/)
      // llama.cpp: hf_ and letters and digits, 37 to 256 in all.
      expect(token).toMatch(/^hf_[A-Za-z0-9]{34,253}$/)
      expect([isWellFormed(token), hasMirrorTokenPrefix(token), containsMirrorToken(token)]).toEqual([
        true,
        true,
        true,
      ])
    }
  })

  it('that differs in one letter, or lacks some, is invalid, but still no token for the Hub', () => {
    const token = createMirrorToken()
    fc.assert(
      fc.property(
        fc.integer({ min: 9, max: token.length - 1 }),
        fc.constantFrom('a', 'Z', '0', '9'),
        (at, letter) => {
          fc.pre(token.charAt(at) !== letter)
          const wrong = token.slice(0, at) + letter + token.slice(at + 1)
          expect([isWellFormed(wrong), containsMirrorToken(wrong)]).toEqual([false, true])
          const short = token.slice(0, at)
          expect([isWellFormed(short), hasMirrorTokenPrefix(short)]).toEqual([false, true])
        },
      ),
    )
    expect([isWellFormed(`${token}a`), isWellFormed(''), hasMirrorTokenPrefix('hf_abc')]).toEqual([
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
  ])('is found in every place (%#)', (hide) => {
    expect(containsMirrorToken(hide(createMirrorToken()))).toBe(true)
  })

  it.each([
    'hf_mirror/model',
    'hf_mirrors',
    'hf_mirror-weights-of-a-very-long-name',
    'hf_abcdefghijklmnopqrstuvwxyz',
    '%',
    '%zz',
  ])('is not found in "%s"', (text) => {
    expect(containsMirrorToken(text)).toBe(false)
  })

  it.each([
    (token: string) => token,
    (token: string) => `HF_${token.slice(3)}`,
    (token: string) => token.replace('hf_mirror', 'hf_Mirror'),
    (token: string) => token.replace('hf_mirror', 'hf-mirror'),
    (token: string) => token.replace('hf_mirror', 'hf mirror'),
    (token: string) => token.replace('hf_mirror', 'hf_miror'),
    (token: string) => token.replace('hf_mirror', 'hf_mirrror'),
    (token: string) => token.replace('hf_mirror', 'fh_mirror'),
    (token: string) => token.replace('hf_mirror', 'hf_'),
    (token: string) => token.slice(3),
    (token: string) => token.slice(9),
    (token: string) => `"${token.slice(3)}"`,
    (token: string) => `HF_TOKEN=${token.slice(9)}`,
    (token: string) => ` ${token.slice(4)}\n`,
    // The rest is incomplete, too.
    (token: string) => `HF_Mirror${token.slice(9, -1)}`,
    (token: string) => `mirror${token.slice(9, -3)}xyz`,
  ])('is recognised although it is misspelt (%#)', (spell) => {
    for (let round = 0; round < 20; round += 1)
      expect(resemblesMirrorToken(spell(createMirrorToken()))).toBe(true)
  })

  it('does not resemble a token or a word of the Hub', () => {
    const letters = fc.stringMatching(/^[A-Za-z0-9]{34}$/)
    fc.assert(
      fc.property(letters, letters, letters, (a, b, c) => {
        for (const text of [
          `hf_${a}`,
          `api_org_${a}`,
          `hf_oauth_${a}${b}.${b}${c}.${c}${a}`,
          `hf_jwt_${a}-${b}_${c}`,
        ])
          expect([text, resemblesMirrorToken(text)]).toEqual([text, false])
      }),
    )
    for (const text of ['a'.repeat(40), '0123456789abcdef'.repeat(4), 'basic', '', 'my mirror'])
      expect(resemblesMirrorToken(text)).toBe(false)
  })
})
