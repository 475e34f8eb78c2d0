import { describe, expect, it } from 'vitest'
import {
  apiSegment,
  isCommitHash,
  parseRepoId,
  REPO_TYPES,
  repoKey,
  typeOfApiSegment,
  webPrefix,
} from '../../../src/hub/names.ts'
import { repo } from './repo.ts'

describe('parseRepoId', () => {
  it.each([
    'gpt2',
    'org/name',
    'Org.x/Name_1-2.5B',
    '0xabc/1',
    '_a/b_',
    `${'a'.repeat(96)}/${'b'.repeat(96)}`,
    'a/resolve',
    'someone/api',
    'gitty/x.gitx',
  ])('accepts %s', (text) => {
    expect(parseRepoId(text)).toBe(text)
  })

  it.each([
    '',
    '/',
    'a/',
    '/b',
    'a/b/c',
    'a//b',
    '.',
    '..',
    'a/..',
    'a/.b',
    'a/b.',
    '-a/b',
    'a/b-',
    'a--b/c',
    'a/b--c',
    'a/b..c',
    'a/b.git',
    'a/b.GIT',
    'a.git',
    'a b/c',
    'a/b\n',
    'a/é',
    'a/b%20',
    'a\\b',
    `a/${'b'.repeat(97)}`,
    'api',
    'api/models',
    'datasets/a',
    'Spaces/a',
    'kernels',
    'buckets/a',
    'v2/a',
    '__proto__/a--',
  ])('refuses %j', (text) => {
    expect(parseRepoId(text)).toBeUndefined()
  })
})

describe('isCommitHash', () => {
  it('knows 40 lower-case hex digits and nothing else', () => {
    expect(isCommitHash('0123456789abcdef0123456789abcdef01234567')).toBe(true)
    expect(isCommitHash('0123456789ABCDEF0123456789abcdef01234567')).toBe(false)
    expect(isCommitHash('0'.repeat(39))).toBe(false)
    expect(isCommitHash('0'.repeat(41))).toBe(false)
    expect(isCommitHash(`${'0'.repeat(40)}\n`)).toBe(false)
  })
})

describe('names of types', () => {
  it('turns every type into its API segment and back', () => {
    for (const type of REPO_TYPES) expect(typeOfApiSegment(apiSegment(type))).toBe(type)
    expect(typeOfApiSegment('toString')).toBeUndefined()
  })

  it('gives models no prefix, and every repo a key of its own', () => {
    expect(REPO_TYPES.map(webPrefix)).toEqual(['', 'datasets/', 'spaces/', 'kernels/'])
    const keys = REPO_TYPES.map((type) => repoKey(repo('a/b', type)))
    expect(keys).toEqual(['models/a/b', 'datasets/a/b', 'spaces/a/b', 'kernels/a/b'])
  })
})
