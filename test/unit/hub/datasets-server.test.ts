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
    '/',
    '/parquet',
    '/parquet?dataset=',
    '/parquet?dataset=a/b/c',
    '/parquet?dataset=..',
    '/parquet?dataset=a/b&dataset=c/d',
    '/parquet?dataset=a/b&config=x&config=y',
    '/parquet?dataset=a/b&length=100',
    '/rows?dataset=a/b',
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
