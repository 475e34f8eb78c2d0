// When an origin has moved, and who may follow it.

import { describe, expect, it } from 'vitest'
import { checkMove, moveOf } from '../../../src/origin/origin-move.ts'

const policyOf = (base: string) => ({
  base: new URL(base),
  allowedHosts: ['*.allowed.example', 'new.example'],
})
const FREE = { hasCredential: false, isRepeatable: true }

describe('a redirect', () => {
  it.each([
    ['http://old.example', '/api/x?a=1', 308, 'https://new.example/api/x?a=1', true],
    ['http://old.example', '/api/x?a=1', 301, 'https://new.example/api/x?a=1', true],
    ['http://old.example', '/api/x?a=1', 302, '//new.example/api/x?a=1', true],
    ['http://old.example', '/api/x', 307, 'https://old.example/api/x', true],
    ['http://old.example', '/api/x', 307, 'http://old.example:8080/api/x', true],
    ['http://old.example', '/api/x', 308, 'https://new.example/hub/api/x', true],
    ['http://old.example/hub/', '/hub/api/x', 308, 'https://new.example/api/x', true],
    ['http://old.example', '/', 308, 'https://new.example/', true],
    ['http://old.example', '/api/x', 308, '/api/x', false],
    ['http://old.example', '/api/x', 308, 'http://old.example/api/y', false],
    ['http://old.example', '/api/x', 308, 'https://new.example/api/y', false],
    ['http://old.example', '/api/x?a=1', 308, 'https://new.example/api/x', false],
    ['http://old.example', '/', 308, 'https://new.example/login/', false],
    ['http://old.example', '/api/x', 303, 'https://new.example/api/x', false],
    ['http://old.example', '/api/x', 200, 'https://new.example/api/x', false],
    ['http://old.example', '/api/x', 201, 'https://new.example/api/x', false],
    ['http://old.example', '/api/x', 308, 'http://', false],
    ['http://old.example', '/api/x', 308, undefined, false],
  ])('of %s%s with %i to %s is a move: %s', (base, target, status, location, is) => {
    const to = moveOf(policyOf(base), new URL(target, base), { status, headers: { location } })
    expect(to !== undefined).toBe(is)
  })

  it('to another host than the origin is no move', () => {
    const from = new URL('https://cdn.example/x')
    const headers = { location: 'https://new.example/x' }
    expect(moveOf(policyOf('https://old.example'), from, { status: 308, headers })).toBeUndefined()
  })
})

describe('a move', () => {
  it.each([
    ['http://old.example', 'https://new.example/x', FREE, true],
    ['http://old.example', 'http://new.example:8080/x', FREE, true],
    ['http://old.example', 'https://a.allowed.example/x', FREE, true],
    ['http://old.example', 'https://old.example/x', FREE, true],
    ['https://old.example', 'https://new.example/x', FREE, true],
    ['http://old.example', 'http://old.example:8080/x', FREE, false],
    ['https://old.example', 'http://new.example/x', FREE, false],
    ['https://old.example', 'http://old.example/x', FREE, false],
    ['http://old.example', 'https://evil.example/x', FREE, false],
    ['http://old.example', 'https://user@new.example/x', FREE, false],
    ['http://old.example', 'ftp://new.example/x', FREE, false],
    ['http://old.example', 'https://old.example/x', { ...FREE, hasCredential: true }, false],
    ['http://old.example', 'https://new.example/x', { ...FREE, hasCredential: true }, false],
    ['http://old.example', 'https://new.example/x', { ...FREE, isRepeatable: false }, false],
  ])('from %s to %s by %j is followed: %s', (base, to, request, may) => {
    const check = (): void => checkMove(policyOf(base), new URL(to), request)
    if (may) expect(check).not.toThrow()
    else expect(check).toThrow(expect.objectContaining({ code: 'origin_moved' }))
  })
})
