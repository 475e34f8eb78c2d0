import { describe, expect, it } from 'vitest'
import {
  canonicalQuery,
  hasListedQuery,
  type QueriedDocument,
  siteDocumentOf,
} from '../../../src/hub/document-query.ts'

describe('the query of a document', () => {
  it.each<readonly [QueriedDocument, string, readonly string[]]>([
    [
      'tree',
      '?recursive=true',
      [
        '?recursive=true&expand=false',
        '?expand=false&recursive=true',
        '?recursive=True&expand=False',
        '?recursive=TRUE',
        '?%72ecursive=tru%65',
        '?&recursive=true&&',
      ],
    ],
    ['tree', '', ['', '?', '?recursive=false&expand=false', '?recursive=False']],
    ['tree', '?recursive=true&expand=true', ['?expand=True&recursive=true', '?expand=true&recursive=true']],
    ['tree', '?limit=5&cursor=ZXlK%3D%3D', ['?cursor=ZXlK==&limit=5', '?limit=5&cursor=ZXlK%3d%3D']],
    ['repo', '?blobs=true', ['?blobs=True', '?securityStatus=false&blobs=true']],
    ['repo', '?expand=likes&expand=sha', ['?expand=sha&expand=likes', '?expand=sha&expand=likes&expand=sha']],
    ['repo', '?expand%5B%5D=sha', ['?expand[]=sha', '?%65xpand[]=sha']],
    ['refs', '', ['?include_prs=False']],
    ['commits', '?p=1&limit=50', ['?limit=50&p=1']],
    [
      'list',
      '?search=b%20a&search=a&filter=x%3Ay&limit=5',
      ['?filter=x:y&search=b+a&limit=5&search=a', '?limit=5&search=b%20a&search=a&filter=x%3ay'],
    ],
    ['list', '?search=True&full=true', ['?full=True&search=True']],
  ])('of %s is %j in each of its spellings', (document, canonical, spellings) => {
    for (const spelling of [canonical, ...spellings])
      expect([spelling, canonicalQuery(document, spelling)]).toEqual([spelling, canonical])
    expect(hasListedQuery(document, `/x${canonical}`)).toBe(true)
  })

  it.each<readonly [QueriedDocument, readonly string[]]>([
    [
      'tree',
      ['?recursive=true', '?recursive=1', '', '?recursive=true&expand=true', '?recursive=true&limit=2'],
    ],
    ['repo', ['?expand=sha', '?expand[]=sha', '?expand=Sha', '?expand=false', '?blobs=true', '']],
    ['list', ['?search=a', '?search=A', '?search=a&search=b', '?search=b&search=a', '?full=false', '']],
  ])('of %s differs where the question may', (document, queries) => {
    const names = queries.map((query) => canonicalQuery(document, query))
    expect(new Set(names).size).toBe(queries.length)
  })

  it.each<readonly [QueriedDocument, string]>([
    ['repo', '?cursor=1'],
    ['repo', '?recursive=true'],
    ['repo', '?Blobs=true'],
    ['treesize', '?limit=1'],
    ['parquet', '?p=1'],
    ['tree', '?recursive=true&x=1'],
    ['list', '?token=x'],
    ['papers', '?cursor=1'],
    ['tree', `?cursor=hf_${'a'.repeat(34)}`],
  ])('of %s is not listed and stays as it is: %s', (document, query) => {
    expect(canonicalQuery(document, query)).toBe(query)
    expect(hasListedQuery(document, `/x${query}`)).toBe(false)
  })
})

it.each([
  ['/api/collections', 'collections'],
  ['/api/users/alice/overview', 'users'],
  ['/api/spaces/hardware', 'spaces'],
  ['/api/models-tags-by-type', 'models-tags-by-type'],
  ['/api/nothing', undefined],
  ['/collections', undefined],
])('the document of %s is %s', (target, document) => {
  expect(siteDocumentOf(target)).toBe(document)
})
