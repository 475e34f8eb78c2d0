import { describe, expect, it } from 'vitest'
import { type CachedResponse, ResponseCache } from '../../../src/fast-path/response-cache.ts'
import { isCommitHash } from '../../../src/hub/names.ts'
import { parseHubUrl } from '../../../src/hub/route.ts'
import { Invalidations } from '../../../src/mirror/invalidations.ts'
import { manualClock } from '../../support/clock.ts'

const FILE = '/org/name/resolve/main/a.txt'
const OTHER = '/org/other/resolve/main/a.txt'

function routeOf(target: string): CachedResponse['route'] {
  const route = parseHubUrl(target, '/')
  if (route.kind !== 'file') throw new Error(target)
  return route
}

function scene() {
  const clock = manualClock()
  const invalidations = new Invalidations()
  const cache = new ResponseCache({ monotonic: clock.now, invalidations })
  const commit = '0'.repeat(40)
  if (!isCommitHash(commit)) throw new Error('no commit')
  const answer = (target: string, more: Partial<CachedResponse> = {}): CachedResponse => ({
    route: routeOf(target),
    status: 200,
    headers: ['etag', '"x"'],
    until: clock.now() + 10_000,
    askedAt: clock.now(),
    generation: invalidations.generation,
    commit,
    ...more,
  })
  return { clock, invalidations, cache, answer }
}

describe('a cached response', () => {
  it('is given for its own method and target, for as long as it may be believed', () => {
    const { clock, cache, answer } = scene()
    cache.set('GET', FILE, answer(FILE))
    expect(cache.get('GET', FILE)?.headers).toEqual(['etag', '"x"'])
    expect(cache.get('HEAD', FILE)).toBeUndefined()
    expect(cache.get('GET', `${FILE}?download=true`)).toBeUndefined()
    clock.advance(9_999)
    expect(cache.get('GET', FILE)).toBeDefined()
    clock.advance(1)
    expect(cache.get('GET', FILE)).toBeUndefined()
  })

  it('expires after a minute, however long it may be believed', () => {
    const { clock, cache, answer } = scene()
    cache.set('GET', FILE, answer(FILE, { until: Number.POSITIVE_INFINITY }))
    clock.advance(59_999)
    expect(cache.get('GET', FILE)).toBeDefined()
    clock.advance(1)
    expect(cache.get('GET', FILE)).toBeUndefined()
  })

  it('is dropped when its repo is invalidated, with all others of that repo and none of another', () => {
    const { invalidations, cache, answer } = scene()
    for (const method of ['GET', 'HEAD'] as const)
      for (const target of [FILE, FILE.replace('a.txt', 'b.txt'), OTHER])
        cache.set(method, target, answer(target))
    invalidations.invalidate({ type: 'model', id: routeOf(FILE).repo.id })
    for (const method of ['GET', 'HEAD'] as const) {
      expect(cache.get(method, FILE)).toBeUndefined()
      expect(cache.get(method, FILE.replace('a.txt', 'b.txt'))).toBeUndefined()
      expect(cache.get(method, OTHER)).toBeDefined()
    }
  })

  it('is not kept if something was invalidated since it was begun', () => {
    const { invalidations, cache, answer } = scene()
    const begun = answer(FILE)
    invalidations.invalidate(routeOf(OTHER).repo)
    cache.set('GET', FILE, begun)
    expect(cache.get('GET', FILE)).toBeUndefined()
  })

  it('is dropped even if it was evicted and cached again', () => {
    const { invalidations, cache, answer } = scene()
    cache.set('GET', FILE, answer(FILE))
    for (let index = 0; index < 40_000; index += 1) cache.set('GET', `${OTHER}${index}`, answer(OTHER))
    expect(cache.get('GET', FILE)).toBeUndefined()
    cache.set('GET', FILE, answer(FILE))
    invalidations.invalidate(routeOf(FILE).repo)
    expect(cache.get('GET', FILE)).toBeUndefined()
    expect(cache.get('GET', `${OTHER}39999`)).toBeDefined()
    invalidations.invalidate(routeOf(OTHER).repo)
    expect(cache.get('GET', `${OTHER}39999`)).toBeUndefined()
  })

  it('is not kept for a target that is longer than any path', () => {
    const { cache, answer } = scene()
    const long = FILE + 'a'.repeat(512)
    cache.set('GET', long, answer(FILE))
    expect(cache.get('GET', long)).toBeUndefined()
  })
})
