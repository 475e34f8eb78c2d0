import { describe, expect, it } from 'vitest'
import { cacheStatus, xCache } from '../../../src/http/cache-status.ts'
import { OUTCOMES } from '../../../src/telemetry/observer.ts'

describe('cacheStatus', () => {
  it.each([
    ['hit', {}, 'hubmirror; hit'],
    ['hit', { ttlSeconds: 9.7, fwdStatus: 200, stored: true }, 'hubmirror; hit; ttl=9'],
    ['revalidated', { fwdStatus: 200 }, 'hubmirror; fwd=stale; fwd-status=200'],
    ['stale', { ttlSeconds: -30 }, 'hubmirror; hit; ttl=-30; detail="origin-away"'],
    ['miss', { fwdStatus: 302 }, 'hubmirror; fwd=uri-miss; fwd-status=302; stored'],
    ['miss', { stored: false }, 'hubmirror; fwd=uri-miss'],
    ['partial-hit', {}, 'hubmirror; fwd=partial; stored'],
    ['coalesced', {}, 'hubmirror; fwd=uri-miss; collapsed'],
    ['bypass', { detail: 'private' }, 'hubmirror; fwd=bypass; detail="private"'],
    ['refused', {}, 'hubmirror; detail="refused-here"'],
    ['refused', { fwdStatus: 403 }, 'hubmirror; fwd=uri-miss; fwd-status=403'],
  ] as const)('formats %s with %o', (outcome, detail, expected) => {
    expect(cacheStatus(outcome, detail)).toBe(expected)
  })

  it('keeps a detail inside its quotes', () => {
    const value = cacheStatus('bypass', { detail: 'a"; hit\\\r\né' })
    expect(value).toBe('hubmirror; fwd=bypass; detail="a\\"; hit\\\\???"')
  })

  it('has the same word for every outcome in both headers, and none for our own pages and failures', () => {
    const words = OUTCOMES.map((outcome) => [outcome, xCache(outcome)])
    expect(words).toEqual([
      ['hit', 'HIT'],
      ['revalidated', 'REVALIDATED'],
      ['stale', 'STALE'],
      ['miss', 'MISS'],
      ['partial-hit', 'PARTIAL'],
      ['coalesced', 'COALESCED'],
      ['bypass', 'BYPASS'],
      ['refused', 'REFUSED'],
      ['error', undefined],
      ['own', undefined],
    ])
    for (const [outcome] of words.slice(-2))
      expect([outcome, cacheStatus('error')]).toEqual([outcome, undefined])
    expect(cacheStatus('own')).toBeUndefined()
  })
})
