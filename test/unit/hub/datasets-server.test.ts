import { describe, expect, it } from 'vitest'
import { datasetsServerRoute, namesDatasetsServer } from '../../../src/hub/datasets-server.ts'
import { parseHubUrl } from '../../../src/hub/route.ts'

const routeOf = (target: string) => datasetsServerRoute(parseHubUrl(target, '/'))

describe('the route of a request to the datasets-server', () => {
  it.each([
    ['/parquet?dataset=acme/data', 'acme/data', '/parquet?dataset=acme%2Fdata'],
    ['//parquet?dataset=acme%2Fdata', 'acme/data', '/parquet?dataset=acme%2Fdata'],
    ['/info?dataset=squad', 'squad', '/info?dataset=squad'],
    [
      '/size?split=train&config=a%26b&dataset=acme/data',
      'acme/data',
      '/size?dataset=acme%2Fdata&config=a%26b&split=train',
    ],
    ['/statistics?split=test&dataset=a/b', 'a/b', '/statistics?dataset=a%2Fb&split=test'],
    ['/croissant-crumbs?dataset=a/b&full=true', 'a/b', '/croissant-crumbs?dataset=a%2Fb&full=true'],
  ])('%s is about one dataset', (target, id, canonical) => {
    expect(routeOf(target)).toEqual({
      kind: 'document',
      document: 'datasets-server',
      repo: { type: 'dataset', id },
      revision: undefined,
      target: canonical,
      immutable: false,
    })
  })

  it.each([
    ['/first-rows?dataset=a/b&config=x&split=y', '/first-rows?dataset=a%2Fb&config=x&split=y'],
    ['/rows?length=10&offset=5&dataset=a/b', '/rows?dataset=a%2Fb&offset=5&length=10'],
    ['/search?dataset=a/b&query=x+y%26', '/search?dataset=a%2Fb&query=x%20y%26'],
    ['/filter?dataset=a/b&where="n"=\'1\'&orderby=n', "/filter?dataset=a%2Fb&where=%22n%22%3D'1'&orderby=n"],
  ])('%s shows rows of one dataset', (target, canonical) => {
    const repo = { type: 'dataset', id: 'a/b' }
    expect(routeOf(target)).toMatchObject({ document: 'dataset-rows', repo, target: canonical })
  })

  it.each([
    ['/cached-assets/a/b/--/0123/--/default/train/0/image/image.jpg?Expires=1&Signature=x~_', 'a/b'],
    ['/assets/squad/--/0123/--/default/train/0/image/image.jpg', 'squad'],
  ])('%s is an asset of a dataset', (target, id) => {
    const repo = { type: 'dataset', id }
    expect(routeOf(target)).toEqual({
      kind: 'other',
      repo,
      target,
      purpose: 'asset',
      scope: { ...repo, shows: 'everything' },
    })
  })

  it.each([
    '/',
    '/cached-assets/a/b/c/--/x',
    '/cached-assets/--/x',
    '/cached-assets/a/b/image.jpg',
    '/assets/api/b/--/x',
    '/parquet',
    '/parquet?dataset=',
    '/parquet?dataset=a/b/c',
    '/parquet?dataset=..',
    '/parquet?dataset=a/b&dataset=c/d',
    '/parquet?dataset=a/b&config=x&config=y',
    '/parquet?dataset=a/b&length=100',
    '/rows?dataset=a/b&token=x',
    '/rows?dataset=a/b&length=1&length=2',
    '/filter?dataset=a/b&query=x',
    '/nothing?dataset=a/b',
    '/api/datasets/a/b',
    '/datasets/a/b/resolve/main/x',
  ])('%s has none', (target) => {
    expect(routeOf(target)).toBeUndefined()
  })
})

it.each([
  ['datasets-server.mirror:8080', true],
  ['Datasets-Server.localhost', true],
  ['mirror:8080', false],
  ['my-datasets-server.mirror', false],
  ['', false],
])('the host %j names the datasets-server: %s', (host, expected) => {
  expect(namesDatasetsServer(host)).toBe(expected)
})
