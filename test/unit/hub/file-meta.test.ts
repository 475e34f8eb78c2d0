import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isHeaderSafe } from '../../../src/http/headers.ts'
import {
  bareEtag,
  blobKeyOf,
  commitOfPath,
  type FileMeta,
  fileHeaders,
  readFirstHop,
} from '../../../src/hub/file-meta.ts'
import { anyText } from '../http/any-text.ts'
import { commit, repo } from './repo.ts'

const SHA = commit('c')
const SHA1 = 'a'.repeat(40)
const SHA256 = 'b'.repeat(64)
const CDN = `https://us.aws.cdn.hf.co/x/${SHA256}?Signature=s`

const smallFile = {
  'x-repo-commit': SHA,
  etag: `"${SHA1}"`,
  'content-length': '665',
  'content-type': 'application/json',
}
const lfsRedirect = {
  'x-repo-commit': SHA,
  'x-linked-size': '25888640',
  'x-linked-etag': `"${SHA256}"`,
  location: CDN,
  'content-length': '1400',
  'content-type': 'text/plain; charset=utf-8',
  'x-xet-hash': 'd'.repeat(64),
}

describe('readFirstHop', () => {
  it('reads an LFS file from the redirect itself, not from its text', () => {
    expect(readFirstHop(lfsRedirect, 302)).toEqual({
      kind: 'meta',
      meta: { commit: SHA, etag: SHA256, sizeBytes: 25_888_640, lfs: true },
      location: CDN,
    })
  })

  it('reads a small file from a direct answer', () => {
    expect(readFirstHop(smallFile, 200)).toEqual({
      kind: 'meta',
      meta: { commit: SHA, etag: SHA1, sizeBytes: 665, lfs: false, contentType: 'application/json' },
    })
  })

  it('takes size and etag of another mirror from the linked headers', () => {
    const answer = {
      ...smallFile,
      'content-length': '1',
      'x-linked-size': '99',
      'x-linked-etag': `"${SHA256}"`,
    }
    expect(readFirstHop(answer, 200)).toMatchObject({ meta: { etag: SHA256, sizeBytes: 99, lfs: true } })
  })

  it('recognises a linked git hash as that of a small file', () => {
    const answer = { ...lfsRedirect, 'x-linked-etag': `"${SHA1}"`, location: '/api/resolve-cache/x' }
    expect(readFirstHop(answer, 307)).toMatchObject({ kind: 'meta', meta: { lfs: false, etag: SHA1 } })
  })

  it('follows redirects without facts', () => {
    const location = `/api/resolve-cache/models/u/r/${SHA}/config.json?etag=%22x%22`
    expect(readFirstHop({ location, 'x-repo-commit': SHA }, 307)).toEqual({
      kind: 'redirect',
      commit: SHA,
      location,
    })
    expect(readFirstHop({ location: '/new/name/resolve/main/x' }, 307)).toEqual({
      kind: 'redirect',
      location: '/new/name/resolve/main/x',
    })
  })

  it('takes no commit from a redirect that has none', () => {
    expect(readFirstHop({ location: '/x', 'x-repo-commit': 'main' }, 307)).toEqual({
      kind: 'redirect',
      location: '/x',
    })
  })

  it.each([
    ['W/"abc"', 'abc'],
    ['w/"abc"', 'abc'],
    ['abc', 'abc'],
    ['"abc-12"', 'abc-12'],
    [' "abc" ', 'abc'],
  ])('normalises the etag %s', (etag, expected) => {
    expect(readFirstHop({ ...smallFile, etag }, 200)).toMatchObject({ meta: { etag: expected, lfs: false } })
  })

  it('takes the size of a partial answer from its Content-Range', () => {
    const answer = { ...smallFile, 'content-length': '1', 'content-range': 'bytes 0-0/665' }
    expect(readFirstHop(answer, 206)).toMatchObject({ meta: { sizeBytes: 665 } })
    expect(readFirstHop({ ...answer, 'content-range': 'bytes 0-0/*' }, 206)).toMatchObject({
      kind: 'incomplete',
      facts: { commit: SHA, etag: SHA1, sizeBytes: undefined },
    })
  })

  it('recognises an empty file', () => {
    expect(readFirstHop({ ...smallFile, 'content-length': '0' }, 200)).toMatchObject({
      meta: { sizeBytes: 0 },
    })
  })

  it('passes refusals on unchanged', () => {
    const headers = { 'x-error-code': 'EntryNotFound', 'x-repo-commit': SHA }
    expect(readFirstHop(headers, 404)).toMatchObject({
      kind: 'refusal',
      refusal: { status: 404, code: 'EntryNotFound', commit: SHA },
    })
    expect(readFirstHop({}, 503)).toMatchObject({ kind: 'refusal', refusal: { status: 503 } })
  })

  it.each([
    ['a captive portal', 200, { 'content-type': 'text/html', 'content-length': '20', etag: '"x"' }],
    ['no location', 302, { ...lfsRedirect, location: undefined }],
    ['a location with a line break', 307, { location: '/x\r\nSet-Cookie: a' }],
    ['no content', 204, smallFile],
    ['a 304 to a question without condition', 304, smallFile],
  ])('does not use %s', (_, status, headers) => {
    expect(readFirstHop(headers, status)).toMatchObject({ kind: 'bad' })
  })

  it.each([
    ['a commit that is a branch', 200, { ...smallFile, 'x-repo-commit': 'main' }],
    ['a commit in capitals', 200, { ...smallFile, 'x-repo-commit': SHA.toUpperCase() }],
    ['two different commits', 200, { ...smallFile, 'x-repo-commit': [SHA, commit('d')] }],
    ['no etag', 200, { ...smallFile, etag: undefined }],
    ['an empty etag', 200, { ...smallFile, etag: '""' }],
    ['an etag that is a path', 200, { ...smallFile, etag: '"../../x"' }],
    ['an etag that is a dot segment', 200, { ...smallFile, etag: '".."' }],
    ['an etag with a quote inside', 200, { ...smallFile, etag: '"a"b"' }],
    ['an etag with a line break', 200, { ...smallFile, etag: '"a\r\nb"' }],
    ['an endless etag', 200, { ...smallFile, etag: `"${'a'.repeat(257)}"` }],
    ['no size', 200, { ...smallFile, 'content-length': undefined }],
    ['a negative size', 200, { ...smallFile, 'content-length': '-1' }],
    ['a fractional size', 200, { ...smallFile, 'content-length': '1.5' }],
    ['a size like 1e308', 200, { ...smallFile, 'x-linked-size': '1e308' }],
    ['a size no number can hold', 200, { ...smallFile, 'content-length': '9007199254740993' }],
    ['an endless size', 200, { ...smallFile, 'content-length': '9'.repeat(400) }],
    ['the length of a compressed body', 200, { ...smallFile, 'content-encoding': 'gzip' }],
    ['an LFS redirect without size', 302, { ...lfsRedirect, 'x-linked-size': undefined }],
    ['an LFS redirect without commit', 302, { ...lfsRedirect, 'x-repo-commit': undefined }],
  ])('asks for the remaining facts of %s', (_, status, headers) => {
    const hop = readFirstHop(headers, status)
    expect(hop).toMatchObject({ kind: 'incomplete' })
    // What cannot be used is absent, so that it is looked for.
    if (hop.kind !== 'incomplete') return
    const { commit: at, etag, sizeBytes } = hop.facts
    expect([at, etag, sizeBytes].filter((fact) => fact === undefined)).toHaveLength(1)
  })

  it.each([
    [`/api/resolve-cache/models/u/r/${SHA}/a/b`, SHA],
    [`/api/resolve-cache/datasets/gpt2/${SHA}/b`, SHA],
    [`/hub/api/resolve-cache/models/u/r/${SHA}/b`, SHA],
    [`/u/r/resolve/${SHA}/b`, SHA],
    ['/u/r/resolve/main/b', undefined],
    [`/u/r/resolve/main/resolve-cache/${SHA}`, undefined],
    [`/u/r/resolve/${SHA.toUpperCase()}/b`, undefined],
  ])('finds the commit that %s names: %s', (path, expected) => {
    expect(commitOfPath(path)).toBe(expected)
  })

  it.each([
    [`"${SHA1}-gzip"`, SHA1],
    [`W/"${SHA256}--gzip"`, SHA256],
    [`"${SHA1};br"`, SHA1],
    // Only what stands behind a digest is known to have been added.
    ['"abc-gzip"', 'abc-gzip'],
  ])('reads %s as %s, whichever server has compressed it', (etag, expected) => {
    expect(bareEtag(etag)).toBe(expected)
  })

  it('reads headers without prototype', () => {
    expect(readFirstHop(Object.assign(Object.create(null), smallFile), 200)).toMatchObject({ kind: 'meta' })
  })

  it('returns for any headers, and then with facts that can be used', () => {
    const value = fc.oneof(
      fc.constantFrom(SHA, SHA1, `"${SHA256}"`, 'W/"x"', '0', '17', '-1', '/x', CDN),
      anyText(),
      fc.array(fc.string(), { maxLength: 2 }),
      fc.constant(undefined),
    )
    const names = [
      'x-repo-commit',
      'etag',
      'x-linked-etag',
      'x-linked-size',
      'content-length',
      'location',
    ] as const
    const headers = fc.tuple(...names.map(() => value)).map((values) => {
      return Object.fromEntries(names.map((name, index) => [name, values[index]]))
    })
    fc.assert(
      fc.property(headers, fc.constantFrom(200, 206, 302, 307, 404), (bag, status) => {
        const hop = readFirstHop(bag, status)
        if (hop.kind !== 'meta') return
        expect(hop.meta.commit).toMatch(/^[0-9a-f]{40}$/)
        expect(hop.meta.etag).toMatch(/^[^/\\"\s]+$/)
        expect(Number.isSafeInteger(hop.meta.sizeBytes)).toBe(true)
      }),
      { numRuns: 300 },
    )
  })
})

describe('blobKeyOf', () => {
  const scope = { origin: 'https://huggingface.co', repo: repo('u/r'), path: 'x' }

  it('names content by its digest, wherever it was seen', () => {
    expect(blobKeyOf({ etag: SHA256, lfs: true }, scope)).toBe(`sha256:${SHA256}`)
    expect(blobKeyOf({ etag: SHA1, lfs: false }, scope)).toBe(`gitsha1:${SHA1}`)
  })

  it.each([
    { etag: SHA256, lfs: false },
    { etag: SHA1, lfs: true },
    { etag: SHA256.toUpperCase(), lfs: true },
    { etag: 'abc', lfs: false },
  ])('binds %o to its place', (meta) => {
    const key = blobKeyOf(meta, scope)
    expect(key).toMatch(/^opaque:[0-9a-f]{64}$/)
    expect(blobKeyOf(meta, { ...scope })).toBe(key)
    expect(blobKeyOf(meta, { ...scope, origin: 'https://mirror' })).not.toBe(key)
    expect(blobKeyOf(meta, { ...scope, repo: repo('u/r', 'dataset') })).not.toBe(key)
    expect(blobKeyOf(meta, { ...scope, path: 'y' })).not.toBe(key)
    expect(blobKeyOf({ ...meta, etag: 'other' }, scope)).not.toBe(key)
  })
})

describe('fileHeaders', () => {
  const meta: FileMeta = { commit: SHA, etag: SHA256, sizeBytes: 7, lfs: true }

  it('has what every client needs, and nothing of Xet', () => {
    expect(fileHeaders(meta, 'a/math qa.py', { download: false })).toEqual({
      'x-repo-commit': SHA,
      etag: `"${SHA256}"`,
      'x-linked-size': '7',
      'x-linked-etag': `"${SHA256}"`,
      'accept-ranges': 'bytes',
      'content-type': 'application/octet-stream',
      'content-disposition': `inline; filename*=UTF-8''math%20qa.py; filename="math qa.py";`,
      'access-control-allow-origin': '*',
      'access-control-expose-headers':
        'X-Repo-Commit,X-Request-Id,X-Error-Code,X-Error-Message,X-Total-Count,ETag,Link,Accept-Ranges,Content-Range,X-Linked-Size,X-Linked-ETag,X-Xet-Hash',
      'cache-control': 'private, no-cache',
      vary: 'Authorization, Accept',
      'content-security-policy': "default-src 'none'; sandbox",
      'x-content-type-options': 'nosniff',
    })
  })

  it('has the linked etag for LFS files only, but always the size', () => {
    const headers = fileHeaders({ ...meta, etag: SHA1, lfs: false }, 'x', { download: true })
    expect(headers['x-linked-etag']).toBeUndefined()
    expect(headers['x-linked-size']).toBe('7')
    expect(headers['content-disposition']).toMatch(/^attachment; /)
  })

  it('keeps the content type of the origin if it can be sent', () => {
    expect(fileHeaders({ ...meta, contentType: 'text/html' }, 'x', { download: false })['content-type']).toBe(
      'text/html',
    )
    const hostile = { ...meta, contentType: 'text/html\r\nX: y' }
    expect(fileHeaders(hostile, 'x', { download: false })['content-type']).toBe('application/octet-stream')
  })

  it.each([
    ['a"b\\c.txt', `inline; filename*=UTF-8''a%22b%5Cc.txt; filename="a_b_c.txt";`],
    ['é🤗.bin', `inline; filename*=UTF-8''%C3%A9%F0%9F%A4%97.bin; filename="__.bin";`],
    ["o'k(1)*.txt", `inline; filename*=UTF-8''o%27k%281%29%2A.txt; filename="o'k(1)*.txt";`],
    ['a\r\nSet-Cookie: x', `inline; filename*=UTF-8''a%0D%0ASet-Cookie%3A%20x; filename="a__Set-Cookie: x";`],
    ['\ud800', `inline; filename*=UTF-8''%EF%BF%BD; filename="_";`],
  ])('names the file %j safely', (name, expected) => {
    expect(fileHeaders(meta, `dir/${name}`, { download: false })['content-disposition']).toBe(expected)
  })

  it('is header-safe for every path', () => {
    fc.assert(
      fc.property(anyText(), (path) => {
        for (const value of Object.values(fileHeaders(meta, path, { download: true }))) {
          expect(isHeaderSafe(value)).toBe(true)
        }
      }),
    )
  })
})
