import { describe, expect, it } from 'vitest'
import type { Repo } from '../../../src/hub/names.ts'
import { parseHubUrl } from '../../../src/hub/route.ts'
import { type Invalidated, Invalidations } from '../../../src/mirror/invalidations.ts'

function repoOf(target: string): Repo {
  const { repo } = parseHubUrl(target, '/')
  if (repo === undefined) throw new Error(target)
  return repo
}

describe('an invalidation', () => {
  const repo = repoOf('/org/name/resolve/main/a.txt')

  it('reaches every listener before the call returns, in the order of registration', () => {
    const invalidations = new Invalidations()
    const seen: [string, Invalidated][] = []
    invalidations.onInvalidate((what) => seen.push(['first', what]))
    invalidations.onInvalidate((what) => seen.push(['second', what]))
    invalidations.invalidate(repo)
    expect(seen).toEqual([
      ['first', repo],
      ['second', repo],
    ])
    invalidations.invalidate('all')
    expect(seen.slice(2)).toEqual([
      ['first', 'all'],
      ['second', 'all'],
    ])
  })

  it('begins a generation, which listeners already see', () => {
    const invalidations = new Invalidations()
    const generations: number[] = []
    const before = invalidations.generation
    invalidations.onInvalidate(() => generations.push(invalidations.generation))
    invalidations.invalidate(repo)
    invalidations.invalidate('all')
    expect(generations).toEqual([before + 1, before + 2])
    expect(invalidations.generation).toBe(before + 2)
  })
})
