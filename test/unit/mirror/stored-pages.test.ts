// A listing of several pages, put together from what is stored. A bundle can bring pages that no Hub has sent.

import { describe, expect, it } from 'vitest'
import type { CommitHash, Repo } from '../../../src/hub/names.ts'
import { Implied } from '../../../src/mirror/documents/implied.ts'
import type { StoredMetadata } from '../../../src/mirror/metadata/metadata.ts'

const REPO: Repo = { type: 'model', id: 'acme/open' as Repo['id'] }
const COMMIT = 'c'.repeat(40) as CommitHash
const TREE = `/api/models/acme/open/tree/${COMMIT}?recursive=true`
const ORIGIN = 'http://hub.invalid'

interface Page {
  readonly paths: readonly string[]
  readonly next?: string
}

/** A mirror that stores these pages, by target, and the targets of the pages that it reads. */
function storing(pages: Readonly<Record<string, Page>>) {
  const read: string[] = []
  const get = async (name: string) => {
    const target = name.replace('GET ', '')
    const page = pages[target]
    if (page === undefined) return undefined
    read.push(target)
    const items = page.paths.map((path) => ({ type: 'file', oid: 'e'.repeat(40), size: 1, path }))
    const link = page.next === undefined ? undefined : `<${ORIGIN}${page.next}>; rel="next"`
    return { body: Buffer.from(JSON.stringify(items)), contentType: 'application/json', link, headers: {} }
  }
  const implied = new Implied({
    metadata: { documents: { get } } as unknown as StoredMetadata,
    originBase: new URL(ORIGIN),
    cloned: { refs: async () => undefined, items: async () => undefined, commits: async () => undefined },
    invalidations: { onRemoved() {} },
  })
  return {
    read,
    file: (path: string) => implied.listedFile(REPO, COMMIT, path),
  }
}

describe('a stored listing of several pages', () => {
  it('is put together, each page read once', async () => {
    const { file, read } = storing({
      [TREE]: { paths: ['a'], next: `${TREE}&cursor=2` },
      [`${TREE}&cursor=2`]: { paths: ['b'] },
    })
    expect((await file('b'))?.path).toBe('b')
    expect(read.length).toBe(2)
  })

  it('counts as absent if a page leads to itself or to an earlier one, and no page is read twice', async () => {
    const toItself = storing({ [TREE]: { paths: ['a'], next: TREE } })
    expect(await toItself.file('a')).toBe(undefined)
    expect(toItself.read.length).toBe(1)
    const toEarlier = storing({
      [TREE]: { paths: ['a'], next: `${TREE}&cursor=2` },
      [`${TREE}&cursor=2`]: { paths: ['b'], next: TREE },
    })
    expect(await toEarlier.file('a')).toBe(undefined)
    expect(toEarlier.read.length).toBe(2)
  })
})
