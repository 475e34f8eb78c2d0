import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { MirrorError } from '../../../src/errors.ts'
import { REPO_TYPES } from '../../../src/hub/names.ts'
import {
  type FileRoute,
  formatHubUrl,
  parseHubUrl,
  resolveCacheTarget,
  resolveTarget,
} from '../../../src/hub/route.ts'
import { anyText } from '../http/any-text.ts'
import { commit, repo } from './repo.ts'

const SHA = commit('a')

describe('targets for the origin', () => {
  it('spells a file as the quote function of Python does', () => {
    expect(resolveTarget(repo('u/r'), 'refs/pr/1', 'a b/#c%d é[1]+&?.json')).toBe(
      '/u/r/resolve/refs%2Fpr%2F1/a%20b/%23c%25d%20%C3%A9%5B1%5D%2B%26%3F.json',
    )
    expect(resolveTarget(repo('a/b', 'dataset'), 'main', "~-_.!'()*")).toBe(
      '/datasets/a/b/resolve/main/~-_.%21%27%28%29%2A',
    )
    expect(resolveCacheTarget(repo('a/b', 'dataset'), SHA, 'x y')).toBe(
      `/api/resolve-cache/datasets/a/b/${SHA}/x%20y`,
    )
  })

  it.each([
    '',
    '/',
    'a/',
    '/a',
    'a//b',
    '..',
    'a/../b',
    './a',
    'a\\b',
    'a\0b',
    'a\nb',
    '\ud800',
    'a'.repeat(2049),
  ])('refuses the path %j from a listing', (path) => {
    expect(() => resolveTarget(repo('u/r'), 'main', path)).toThrow(MirrorError)
    expect(() => resolveCacheTarget(repo('u/r'), SHA, path)).toThrow(MirrorError)
  })

  it('is the inverse of parsing', () => {
    const segment = anyText({ minLength: 1, maxLength: 12 })
      // The characters no URL may hold; lone surrogates have no UTF-8.
      .map((text) => text.replace(/[\p{Cc}\p{Cs}\\/]/gu, 'é'))
      .filter((text) => text !== '.' && text !== '..')
    const slashed = fc.array(segment, { minLength: 1, maxLength: 3 }).map((parts) => parts.join('/'))
    const name = fc.stringMatching(/^[A-Za-z0-9_]([A-Za-z0-9_.]?[A-Za-z0-9_]){0,8}$/).filter((text) => {
      return !/^(?:api|datasets|spaces|kernels|buckets|v2)$/i.test(text) && !/\.git$/i.test(text)
    })
    const route: fc.Arbitrary<FileRoute> = fc
      .record({
        id: fc.oneof(
          name,
          fc.tuple(name, name).map((names) => names.join('/')),
        ),
        type: fc.constantFrom(...REPO_TYPES),
        revision: slashed.filter((text) => text !== 'resolve'),
        path: slashed,
        pinned: fc.boolean(),
        download: fc.boolean(),
      })
      .map(({ id, type, revision, path, pinned, download }) => ({
        kind: 'file',
        repo: repo(id, type),
        revision: pinned ? SHA : revision,
        path,
        via: pinned ? 'resolve-cache' : 'resolve',
        download,
      }))
    fc.assert(
      fc.property(route, fc.constantFrom('', '/base'), (file, basePath) => {
        expect(parseHubUrl(basePath + formatHubUrl(file), basePath)).toEqual(file)
      }),
    )
  })

  it('decodes exactly once', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[%a-f0-9]{1,20}$/), (path) => {
        const route = parseHubUrl(`/u/r/resolve/main/${encodeURIComponent(path)}`, '/')
        expect(route).toMatchObject({ kind: 'file', path })
      }),
    )
  })
})
