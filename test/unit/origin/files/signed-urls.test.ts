import { describe, expect, it } from 'vitest'
import { createSignedUrls, expiryOf } from '../../../../src/origin/files/signed-urls.ts'

const NOW = Date.UTC(2026, 0, 2, 3, 4, 5)
const MARGIN_MS = 30_000
const DEFAULT_LIFE_MS = 300_000
const YEAR_MS = 365 * 86_400_000
const s3 = (date: string, life: string): URL =>
  new URL(`https://bucket.test/x?X-Amz-Date=${date}&X-Amz-Expires=${life}&X-Amz-Signature=s`)
const cloudFront = (expiresAtMs: number): URL =>
  new URL(`https://cdn.test/x?Expires=${expiresAtMs / 1000}&Signature=s&Key-Pair-Id=k`)

describe('expiryOf', () => {
  it('reads what CloudFront signs', () => {
    expect(expiryOf(cloudFront(NOW))).toBe(NOW)
  })

  it('reads what S3 signs', () => {
    expect(expiryOf(s3('20260102T030405Z', '3600'))).toBe(NOW + 3_600_000)
  })

  it.each([
    'https://cdn.test/x',
    'https://cdn.test/x?Expires=',
    'https://cdn.test/x?Expires=soon',
    'https://cdn.test/x?Expires=-1767323045',
    'https://cdn.test/x?Expires=1e9',
    'https://cdn.test/x?Expires=12345',
    'https://cdn.test/x?Expires=999999999999999',
    'https://cdn.test/x?expires=1767323045',
    'https://cdn.test/x?X-Amz-Date=20260102T030405Z',
    'https://cdn.test/x?X-Amz-Expires=3600',
    'https://cdn.test/x?X-Amz-Date=2026-01-02T03:04:05Z&X-Amz-Expires=3600',
    'https://cdn.test/x?X-Amz-Date=20260102T030405Z&X-Amz-Expires=36000000',
    'https://cdn.test/x?X-Amz-Date=20260102T030405Z&X-Amz-Expires=1h',
  ])('reads no expiry from %s', (url) => {
    expect(expiryOf(new URL(url))).toBeUndefined()
  })
})

describe('a cached URL', () => {
  /** The mirror's monotonic clock; its wall clock is a year off. */
  function memory(): { urls: ReturnType<typeof createSignedUrls>; clock: { ms: number } } {
    const clock = { ms: 77 }
    return { urls: createSignedUrls({ monotonic: () => clock.ms, now: () => NOW + YEAR_MS }), clock }
  }

  it.each([
    ['of CloudFront', cloudFront(NOW + 3_600_000), 3_600_000 - MARGIN_MS],
    ['of S3', s3('20260102T030405Z', '600'), 600_000 - MARGIN_MS],
    ['without a date', new URL('https://cdn.test/x'), DEFAULT_LIFE_MS],
  ])('%s is used until shortly before its expiry by the clock of its signer', (_, url, lifeMs) => {
    const { urls, clock } = memory()
    urls.set('name', url, NOW)
    clock.ms = 77 + lifeMs - 1
    expect(urls.get('name')).toBe(url)
    clock.ms = 77 + lifeMs
    expect(urls.get('name')).toBeUndefined()
  })

  it('expires by the wall clock if its signer has sent no date', () => {
    const { urls, clock } = memory()
    urls.set('name', cloudFront(NOW + YEAR_MS + 100_000), undefined)
    clock.ms += 100_000 - MARGIN_MS - 1
    expect(urls.get('name')).toBeDefined()
    clock.ms += 1
    expect(urls.get('name')).toBeUndefined()
  })

  it.each([
    ['has expired', cloudFront(NOW - 1000)],
    ['is about to expire', cloudFront(NOW + MARGIN_MS)],
  ])('is not kept if it %s', (_, url) => {
    const { urls } = memory()
    urls.set('name', url, NOW)
    expect(urls.get('name')).toBeUndefined()
  })

  it('belongs to its name, and can be invalidated and replaced', () => {
    const { urls } = memory()
    const [first, second] = [cloudFront(NOW + 100_000), cloudFront(NOW + 200_000)]
    urls.set('a', first, NOW)
    urls.set('a', second, NOW)
    expect(urls.get('a')).toBe(second)
    expect(urls.get('b')).toBeUndefined()
    urls.invalidate('a', second)
    urls.invalidate('b', second)
    expect(urls.get('a')).toBeUndefined()
  })

  it('that replaced another is not invalidated together with that one', () => {
    const { urls } = memory()
    const [old, fresh] = [cloudFront(NOW + 100_000), cloudFront(NOW + 100_000)]
    urls.set('a', old, NOW)
    urls.set('a', fresh, NOW)
    urls.invalidate('a', old)
    expect(urls.get('a')).toBe(fresh)
  })

  it('is evicted when many others have come', () => {
    const { urls } = memory()
    for (let index = 0; index <= 20_000; index += 1) urls.set(`n${index}`, cloudFront(NOW + 100_000), NOW)
    expect(urls.get('n0')).toBeUndefined()
    expect(urls.get('n20000')).toBeDefined()
  })
})
