import { describe, expect, it } from 'vitest'
import { suggest } from '../../../src/config/suggest.ts'

const known = ['TOKEN', 'TOKEN_FILE', 'PORT', 'ORIGIN']

describe('suggest', () => {
  it.each([
    ['TOKN', 'TOKEN'],
    ['PROT', 'PORT'],
    ['ORIGINS', 'ORIGIN'],
    ['TOKEN_FIEL', 'TOKEN_FILE'],
  ])('corrects %s', (word, meant) => {
    expect(suggest(word, known)).toBe(meant)
  })

  it('is silent when nothing is near', () => {
    expect(suggest('XYZW', known)).toBeUndefined()
    expect(suggest('x'.repeat(5000), known)).toBeUndefined()
  })
})
