import { inspect } from 'node:util'
import { describe, expect, it } from 'vitest'
import { MASK, Secret, trimSecret } from '../../../src/config/secret.ts'

function follow(initial: string) {
  const state = { stamp: '1' as string | undefined, text: initial as string | undefined, nowMs: 0, looks: 0 }
  const secret = Secret.following({
    initial,
    initialStamp: '1',
    file: {
      stamp: () => {
        state.looks += 1
        return state.stamp
      },
      read: () => state.text,
      writtenAt: () => (state.stamp === undefined ? undefined : 5),
    },
    faultOf: (text) => (text.includes(' ') ? 'a blank' : undefined),
    now: () => state.nowMs,
  })
  return { state, secret }
}

describe('a secret', () => {
  it('prints as a mask in every way', () => {
    const secret = Secret.of('hf_hidden')
    const shown = [
      String(secret),
      JSON.stringify({ secret }),
      inspect({ secret }),
      inspect(secret, { showHidden: true }),
    ]
    expect(shown.every((text) => text.includes(MASK) && !text.includes('hf_hidden'))).toBe(true)
    expect(Object.values(secret)).toEqual([])
  })

  it('returns its value when asked', () => {
    expect(Secret.of('hf_hidden').reveal()).toBe('hf_hidden')
  })

  it('loses the line end of its file, and nothing else', () => {
    expect(trimSecret(' a\r\n\n')).toBe(' a')
    expect(trimSecret('a\nb')).toBe('a\nb')
  })
})

describe('a secret that follows its file', () => {
  it('takes the new value after the file changed', () => {
    const { state, secret } = follow('old')
    Object.assign(state, { stamp: '2', text: 'new\n', nowMs: 1000 })
    expect(secret.reveal()).toBe('new')
  })

  it('checks the file at most once a second', () => {
    const { state, secret } = follow('old')
    Object.assign(state, { stamp: '2', text: 'new', nowMs: 999 })
    expect(secret.reveal()).toBe('old')
    expect(state.looks).toBe(0)
    state.nowMs = 1000
    expect(secret.reveal()).toBe('new')
    secret.reveal()
    expect(state.looks).toBe(1)
  })

  it('checks the file again when the clock has stepped back', () => {
    const { state, secret } = follow('old')
    Object.assign(state, { stamp: '2', text: 'new', nowMs: -5 })
    expect(secret.reveal()).toBe('new')
  })

  it.each([
    ['is missing', { stamp: undefined, text: undefined }],
    ['cannot be read', { stamp: '2', text: undefined }],
    ['is empty', { stamp: '2', text: '\n' }],
    ['is half written', { stamp: '2', text: 'half a' }],
  ])('keeps the old value while the file %s, and uses the next valid one', (_, broken) => {
    const { state, secret } = follow('old')
    Object.assign(state, broken, { nowMs: 1000 })
    expect(secret.reveal()).toBe('old')
    Object.assign(state, { stamp: '2', text: 'new', nowMs: 2000 })
    expect(secret.reveal()).toBe('new')
  })

  it('does not read a file that has not changed', () => {
    const { state, secret } = follow('old')
    Object.assign(state, { text: 'other', nowMs: 5000 })
    expect(secret.reveal()).toBe('old')
  })

  it('reports each unusable text once', () => {
    const { state, secret } = follow('old')
    const told: string[] = []
    secret.onRefused((fault) => told.push(fault))
    for (const stamp of ['2', '2', '3']) {
      Object.assign(state, { stamp, text: 'half a', nowMs: state.nowMs + 1000 })
      expect(secret.reveal()).toBe('old')
    }
    expect(told).toEqual(['a blank', 'a blank'])
    Object.assign(state, { stamp: '4', text: 'new', nowMs: state.nowMs + 1000 })
    expect(secret.reveal()).toBe('new')
    expect(told).toHaveLength(2)
  })
})
