import { describe, expect, it } from 'vitest'
import { type ReadyAnswer, ReadyAnswers } from '../../../src/fast-path/response-cache.ts'
import { isCommitHash } from '../../../src/hub/names.ts'
import { parseHubUrl } from '../../../src/hub/route.ts'
import { Invalidations } from '../../../src/mirror/invalidations.ts'
import { manualClock } from '../../support/clock.ts'

const FILE = '/org/name/resolve/main/a.txt'
const OTHER = '/org/other/resolve/main/a.txt'

function routeOf(target: string): ReadyAnswer['route'] {
  const route = parseHubUrl(target, '/')
  if (route.kind !== 'file') throw new Error(target)
  return route
}

function scene() {
  const clock = manualClock()
  const invalidations = new Invalidations()
  const ready = new ReadyAnswers({ monotonic: clock.now, invalidations })
  const commit = '0'.repeat(40)
  if (!isCommitHash(commit)) throw new Error('no commit')
  const answer = (target: string, more: Partial<ReadyAnswer> = {}): ReadyAnswer => ({
    route: routeOf(target),
    status: 200,
    headers: ['etag', '"x"'],
    until: clock.now() + 10_000,
    askedAt: clock.now(),
    generation: invalidations.generation,
    commit,
    ...more,
  })
  return { clock, invalidations, ready, answer }
}

describe('an answer', () => {
  it('is ready for its own method and target, up to when it may be believed', () => {
    const { clock, ready, answer } = scene()
    ready.remember('GET', FILE, answer(FILE))
    expect(ready.recall('GET', FILE)?.headers).toEqual(['etag', '"x"'])
    expect(ready.recall('HEAD', FILE)).toBeUndefined()
    expect(ready.recall('GET', `${FILE}?download=true`)).toBeUndefined()
    clock.advance(9_999)
    expect(ready.recall('GET', FILE)).toBeDefined()
    clock.advance(1)
    expect(ready.recall('GET', FILE)).toBeUndefined()
  })

  it('is looked at anew after a minute, however long it may be believed', () => {
    const { clock, ready, answer } = scene()
    ready.remember('GET', FILE, answer(FILE, { until: Number.POSITIVE_INFINITY }))
    clock.advance(59_999)
    expect(ready.recall('GET', FILE)).toBeDefined()
    clock.advance(1)
    expect(ready.recall('GET', FILE)).toBeUndefined()
  })

  it('ends when its repo is forgotten, with all others of that repo and none of another', () => {
    const { invalidations, ready, answer } = scene()
    for (const method of ['GET', 'HEAD'] as const)
      for (const target of [FILE, FILE.replace('a.txt', 'b.txt'), OTHER])
        ready.remember(method, target, answer(target))
    invalidations.invalidate({ type: 'model', id: routeOf(FILE).repo.id })
    for (const method of ['GET', 'HEAD'] as const) {
      expect(ready.recall(method, FILE)).toBeUndefined()
      expect(ready.recall(method, FILE.replace('a.txt', 'b.txt'))).toBeUndefined()
      expect(ready.recall(method, OTHER)).toBeDefined()
    }
  })

  it('is not kept when something was forgotten since it was begun', () => {
    const { invalidations, ready, answer } = scene()
    const begun = answer(FILE)
    invalidations.invalidate(routeOf(OTHER).repo)
    ready.remember('GET', FILE, begun)
    expect(ready.recall('GET', FILE)).toBeUndefined()
  })

  it('is forgotten also where others have crowded it out and it came back', () => {
    const { invalidations, ready, answer } = scene()
    ready.remember('GET', FILE, answer(FILE))
    for (let index = 0; index < 40_000; index += 1) ready.remember('GET', `${OTHER}${index}`, answer(OTHER))
    expect(ready.recall('GET', FILE)).toBeUndefined()
    ready.remember('GET', FILE, answer(FILE))
    invalidations.invalidate(routeOf(FILE).repo)
    expect(ready.recall('GET', FILE)).toBeUndefined()
    expect(ready.recall('GET', `${OTHER}39999`)).toBeDefined()
    invalidations.invalidate(routeOf(OTHER).repo)
    expect(ready.recall('GET', `${OTHER}39999`)).toBeUndefined()
  })

  it('to a target longer than any path is not kept', () => {
    const { ready, answer } = scene()
    const long = FILE + 'a'.repeat(512)
    ready.remember('GET', long, answer(FILE))
    expect(ready.recall('GET', long)).toBeUndefined()
  })
})
