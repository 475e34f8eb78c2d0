// Which repos a write changes, by its target and, where only that says it, by its body.

import { expect, it } from 'vitest'
import { parseHubUrl } from '../../../src/hub/route.ts'
import { namesReposInBody, writtenRepos } from '../../../src/hub/written-repos.ts'

const repo = (id: string, type = 'model') => ({ type, id })
const ALL = 'all'
const NEW = 'new'

it.each([
  ['POST', '/api/models/a/b/commit/main', undefined, [repo('a/b')]],
  ['PUT', '/api/datasets/a/b/settings', undefined, [repo('a/b', 'dataset')]],
  ['POST', '/a/b.git/git-receive-pack', undefined, [repo('a/b')]],
  ['POST', '/spaces/a/b/ask-access', undefined, [repo('a/b', 'space')]],
  ['POST', '/api/collections', undefined, []],
  ['POST', '/api/repos/create', { name: 'b', organization: 'a' }, [repo('a/b')]],
  ['POST', '/api/repos/create', { name: 'a/b', type: 'dataset' }, [repo('a/b', 'dataset')]],
  ['POST', '/api/repos/create', { name: 'b', organization: null }, NEW],
  ['POST', '/api/repos/create', { name: 'b', organization: 'a', type: 'planet' }, NEW],
  ['POST', '/api/repos/create', { name: '../b', organization: 'a' }, NEW],
  ['POST', '/api/repos/create', ['a/b'], NEW],
  ['POST', '/api/repos/create', undefined, NEW],
  ['DELETE', '/api/repos/delete', { name: 'b', organization: 'a', type: 'space' }, [repo('a/b', 'space')]],
  ['DELETE', '/api/repos/delete', { name: 'b' }, ALL],
  ['POST', '/api/repos/move', { fromRepo: 'a/b', toRepo: 'c/d' }, [repo('a/b'), repo('c/d')]],
  ['POST', '/api/repos/move', { fromRepo: 'a/b' }, ALL],
  ['POST', '/api/spaces/a/b/duplicate', { repository: 'c/d' }, [repo('a/b', 'space'), repo('c/d', 'space')]],
  ['POST', '/api/spaces/a/b/duplicate', { repository: 'd' }, NEW],
])('%s %s with %j changes %j', (method, target, body, repos) => {
  const bytes = body === undefined ? undefined : Buffer.from(JSON.stringify(body))
  expect(writtenRepos(parseHubUrl(target, '/'), method, bytes)).toEqual(repos)
})

it('the body of a commit is not read for it, since it may have any length', () => {
  const asks = (method: string, target: string) => namesReposInBody(parseHubUrl(target, '/'), method)
  expect(asks('POST', '/api/models/a/b/commit/main')).toBe(false)
  expect(asks('POST', '/api/models/a/duplicate/commit/main')).toBe(false)
  expect(asks('POST', '/api/repos/create')).toBe(true)
  expect(asks('GET', '/api/repos/create')).toBe(false)
})
