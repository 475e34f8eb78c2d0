import { describe, expect, it } from 'vitest'
import { MirrorError } from '../../../src/errors.ts'
import { formatHubUrl, isWriteRoute, parseHubUrl } from '../../../src/hub/route.ts'
import { commit, repo } from './repo.ts'

const SHA = commit('a')

function refusalOf(target: string, basePath = '/'): string {
  try {
    parseHubUrl(target, basePath)
  } catch (error) {
    if (error instanceof MirrorError) return error.code
    throw error
  }
  return 'accepted'
}

describe('file routes', () => {
  it.each([
    ['/gpt2/resolve/main/config.json', 'model', 'gpt2', 'main', 'config.json'],
    ['/u/r/resolve/main/a/b/c.txt', 'model', 'u/r', 'main', 'a/b/c.txt'],
    ['/datasets/u/r/resolve/v1.0/x', 'dataset', 'u/r', 'v1.0', 'x'],
    ['/datasets/squad/resolve/main/x', 'dataset', 'squad', 'main', 'x'],
    ['/spaces/u/r/resolve/main/app.py', 'space', 'u/r', 'main', 'app.py'],
    ['/kernels/u/r/resolve/main/k.so', 'kernel', 'u/r', 'main', 'k.so'],
    ['/u/r/resolve/refs%2Fpr%2F1/x', 'model', 'u/r', 'refs/pr/1', 'x'],
    ['/u/r/resolve/refs%2fconvert%2fparquet/x', 'model', 'u/r', 'refs/convert/parquet', 'x'],
    ['/u/r/resolve/refs/pr/1/x', 'model', 'u/r', 'refs', 'pr/1/x'],
    ['/u/r/resolve/main/a%2Fb', 'model', 'u/r', 'main', 'a/b'],
    ['/u/r/resolve/main/100%25.txt', 'model', 'u/r', 'main', '100%.txt'],
    ['/u/r/resolve/main/%252e%252e', 'model', 'u/r', 'main', '%2e%2e'],
    ['/u/r/resolve/main/...', 'model', 'u/r', 'main', '...'],
    ['/u/r/resolve/main/a+b', 'model', 'u/r', 'main', 'a+b'],
    ['/u/r/resolve/main/[1].json', 'model', 'u/r', 'main', '[1].json'],
    ['/u/r/resolve/main/\xc3\xa9', 'model', 'u/r', 'main', 'é'],
    ['/u/r/resolve/main/%F0%9F%A4%97', 'model', 'u/r', 'main', '🤗'],
    ['/u/r/resolve/main/%EF%BB%BFx', 'model', 'u/r', 'main', '\ufeffx'],
    ['/u/r/%72esolve/m%61in/x', 'model', 'u/r', 'main', 'x'],
    ['//u/r/resolve/main/x', 'model', 'u/r', 'main', 'x'],
    ['/u/r/resolve/main/x/', 'model', 'u/r', 'main', 'x'],
    ['/gpt2/resolve/main/resolve/x', 'model', 'gpt2', 'main', 'resolve/x'],
    ['/u/resolve/resolve/main/x', 'model', 'u/resolve', 'main', 'x'],
    ['/u/r/resolve/main/x?noContentDisposition=1', 'model', 'u/r', 'main', 'x'],
    [
      '/u/r/resolve/refs%2Fpr%2F1/a%20b/%23c%25d%20%C3%A9%5B1%5D%2B%26%3F.json',
      'model',
      'u/r',
      'refs/pr/1',
      'a b/#c%d é[1]+&?.json',
    ],
  ] as const)('reads %s', (target, type, id, revision, path) => {
    const expected = { kind: 'file', repo: repo(id, type), revision, path, via: 'resolve', download: false }
    expect(parseHubUrl(target, '/')).toEqual(expected)
  })

  it.each([
    [`/api/resolve-cache/models/u/r/${SHA}/config.json`, 'model', 'u/r', 'config.json'],
    [`/api/resolve-cache/models/gpt2/${SHA}/a/b%20c`, 'model', 'gpt2', 'a/b c'],
    [
      `/api/resolve-cache/datasets/u/r/${SHA}/x?%2Fu%2Fr%2Fresolve%2Fmain%2Fx=&etag=%22a%22`,
      'dataset',
      'u/r',
      'x',
    ],
  ] as const)('reads the pinned route %s with or without its query', (target, type, id, path) => {
    const expected = { kind: 'file', repo: repo(id, type), revision: SHA, path, download: false }
    expect(parseHubUrl(target, '/')).toEqual({ ...expected, via: 'resolve-cache' })
  })

  it('reads download=true and no other spelling of it', () => {
    const download = (query: string): unknown => {
      const route = parseHubUrl(`/u/r/resolve/main/x${query}`, '/')
      return route.kind === 'file' && route.download
    }
    expect(download('?download=true')).toBe(true)
    expect(download('?a=1&download=true')).toBe(true)
    expect(download('?download=false')).toBe(false)
    expect(download('?xdownload=true')).toBe(false)
  })

  it.each([
    ['resolve-cache of a branch', '/api/resolve-cache/models/u/r/main/x'],
    ['resolve-cache without a path', `/api/resolve-cache/models/u/r/${SHA}`],
    ['an encoded slash between org and name', '/u%2Fr/resolve/main/x'],
    ['a repo id with two dashes', '/u/r--x/resolve/main/x'],
    ['a repo id that ends in .git', '/u/r.git/resolve/main/x'],
    ['a reserved org', '/API/r/resolve/main/x'],
    ['a revision that holds an encoded slash twice', '/u/r/resolve/refs%2F%2Fpr/x'],
    ['a revision that ends in an encoded slash', '/u/r/resolve/main%2F/x'],
    ['a path that ends in an encoded slash', '/u/r/resolve/main/x%2F'],
    ['a path with an empty segment behind an encoded slash', '/u/r/resolve/main/a%2F%2Fb'],
    ['a revision of more than 256 characters', `/u/r/resolve/${'a'.repeat(257)}/x`],
    ['a path of more than 2048 characters', `/u/r/resolve/main/${'a'.repeat(2049)}`],
    ['a target of more than 8192 bytes', `/u/r/resolve/main/x?${'a'.repeat(8192)}`],
    ['an empty segment inside', '/u/r//resolve/main/x'],
    ['an empty segment in the path', '/u/r/resolve/main/a//b'],
    ['absolute-form', 'http://huggingface.co/u/r/resolve/main/x'],
    ['authority-form', 'huggingface.co:443'],
    ['asterisk-form', '*'],
    ['an empty target', ''],
    ['a fragment', '/u/r/resolve/main/x#y'],
    ['a fragment in the query', '/u/r/resolve/main/x?a#y'],
    ['a raw blank', '/u/r/resolve/main/a b'],
    ['a control byte in the query', '/u/r/resolve/main/x?a\r\nb'],
    ['a half escape', '/u/r/resolve/main/x%2'],
    ['an escape that is none', '/u/r/resolve/main/%zz'],
    ['a bare percent sign', '/u/r/resolve/main/100%'],
    ['broken UTF-8', '/u/r/resolve/main/%C3%28'],
    ['overlong UTF-8', '/u/r/resolve/main/%C0%AE%C0%AE'],
    ['an encoded surrogate', '/u/r/resolve/main/%ED%A0%80'],
    ['raw Latin-1', '/u/r/resolve/main/\xe9'],
    ['characters no socket can deliver', '/u/r/resolve/main/\u{101}'],
  ])('refuses %s', (_, target) => {
    expect(refusalOf(target)).toBe('bad_url')
  })

  it('tells a client that takes the mirror for a forward proxy what to set', () => {
    expect(() => parseHubUrl('http://huggingface.co/u/r/resolve/main/x', '/')).toThrow(/HF_ENDPOINT/)
  })
})

describe('a base path', () => {
  it.each(['/hugging-face', '/hugging-face/'])('is removed first from %s', (basePath) => {
    for (const target of ['/hugging-face/u/r/resolve/main/x', '//hugging-face//u/r/resolve/main/x']) {
      expect(formatHubUrl(parseHubUrl(target, basePath))).toBe('/u/r/resolve/main/x')
    }
    expect(parseHubUrl('/hugging-face', basePath)).toMatchObject({ kind: 'other', target: '/' })
  })

  it('is required: a target outside of it is not found', () => {
    expect(refusalOf('/u/r/resolve/main/x', '/hugging-face')).toBe('not_found')
    expect(refusalOf('/hugging-facex/u/r/resolve/main/x', '/hugging-face')).toBe('not_found')
  })
})

describe('documents', () => {
  it.each([
    ['/api/models/u/r', 'repo', undefined, '/api/models/u/r'],
    ['/api/models/gpt2', 'repo', undefined, '/api/models/gpt2'],
    ['//api/datasets/u/r?expand=sha', 'repo', undefined, '/api/datasets/u/r?expand=sha'],
    [
      '/api/models/u/r/revision/refs%2fpr%2f1',
      'revision',
      'refs/pr/1',
      '/api/models/u/r/revision/refs%2Fpr%2F1',
    ],
    ['/api/models/gpt2/revision/main', 'revision', 'main', '/api/models/gpt2/revision/main'],
    ['/api/models/u/r/tree/main/', 'tree', 'main', '/api/models/u/r/tree/main'],
    ['/api/models/gpt2/tree/main/onnx', 'tree', 'main', '/api/models/gpt2/tree/main/onnx'],
    [
      '/api/models/u/r/tree/refs/pr/1?recursive=true',
      'tree',
      'refs/pr/1',
      '/api/models/u/r/tree/refs%2Fpr%2F1?recursive=true',
    ],
    ['/api/models/u/r/tree/refs/pr/1/a/b', 'tree', 'refs/pr/1', '/api/models/u/r/tree/refs%2Fpr%2F1/a/b'],
    [
      '/api/datasets/u/r/tree/refs/convert/parquet',
      'tree',
      'refs/convert/parquet',
      '/api/datasets/u/r/tree/refs%2Fconvert%2Fparquet',
    ],
    ['/api/models/u/r/tree/refs/heads/main', 'tree', 'refs', '/api/models/u/r/tree/refs/heads/main'],
    ['/api/models/u/r/tree/main/sub%20dir%2Fx', 'tree', 'main', '/api/models/u/r/tree/main/sub%20dir/x'],
    ['/api/models/u/r/tree/main/sub%2F', 'tree', 'main', '/api/models/u/r/tree/main/sub'],
    ['/api/models/u/r/paths-info/main', 'paths-info', 'main', '/api/models/u/r/paths-info/main'],
    ['/api/models/u/r/refs?include_prs=1', 'refs', undefined, '/api/models/u/r/refs?include_prs=1'],
    ['/api/models/gpt2/refs', 'refs', undefined, '/api/models/gpt2/refs'],
    ['/api/models/u/r/commits/main?p=0', 'commits', 'main', '/api/models/u/r/commits/main?p=0'],
    ['/api/models/u/tree/tree/main', 'tree', 'main', '/api/models/u/tree/tree/main'],
    [
      '/api/models/u/r/tree/main?expand=False&recursive=True',
      'tree',
      'main',
      '/api/models/u/r/tree/main?recursive=true',
    ],
    [
      '/api/models/u/r/safetensors-metadata/sub%2Fmodel.safetensors.index.json',
      'safetensors-metadata',
      undefined,
      '/api/models/u/r/safetensors-metadata/sub/model.safetensors.index.json',
    ],
  ])('reads %s', (raw, document, revision, target) => {
    expect(parseHubUrl(raw, '/')).toMatchObject({ kind: 'document', document, revision, target })
  })

  it('a repo is distinguished from a word of the API', () => {
    expect(parseHubUrl('/api/models/gpt2/tree/main', '/')).toMatchObject({ repo: repo('gpt2') })
    expect(parseHubUrl('/api/models/u/tree/tree/main', '/')).toMatchObject({ repo: repo('u/tree') })
    expect(parseHubUrl('/api/models/u/tree', '/')).toMatchObject({ document: 'repo', repo: repo('u/tree') })
    expect(parseHubUrl('/api/models/gpt2/auth-check', '/')).toMatchObject({
      kind: 'other',
      repo: repo('gpt2'),
    })
    expect(parseHubUrl('/api/models/u/r/auth-check/write', '/')).toMatchObject({
      kind: 'other',
      repo: repo('u/r'),
    })
  })

  it('whoami and the lists belong to no repo', () => {
    expect(parseHubUrl('/api/whoami-v2', '/')).toMatchObject({ document: 'whoami', repo: undefined })
    expect(parseHubUrl('/api/models?search=a%20b', '/')).toMatchObject({
      document: 'list',
      target: '/api/models?search=a%20b',
    })
    expect(parseHubUrl('/api/spaces/', '/')).toMatchObject({ document: 'list', target: '/api/spaces' })
  })

  it.each([
    ['/api/organizations/acme/overview', '/api/organizations/acme/overview'],
    ['/api/users/al%69ce/likes/?limit=5', '/api/users/alice/likes?limit=5'],
    ['/api/spaces/hardware', '/api/spaces/hardware'],
    ['/api/collections/?limit=2&owner=a', '/api/collections?owner=a&limit=2'],
    ['/api/collections?x=1&owner=a', '/api/collections?x=1&owner=a'],
    ['/api/tasks', '/api/tasks'],
  ])('%s is about no repo', (raw, target) => {
    expect(parseHubUrl(raw, '/')).toMatchObject({ document: 'site', repo: undefined, target })
  })

  it.each(['/api/users/alice/avatar', '/api/organizations/acme', '/api/spaces/zero-gpu/quota'])(
    '%s is passed through',
    (target) => {
      expect(parseHubUrl(target, '/')).toMatchObject({ kind: 'other', repo: undefined, target })
    },
  )

  it.each([
    '/api/whoami-v2/x.css',
    '/api/whoami-v2;x.css',
    '/api/whoami-v2%3Bx.css',
    '/api/whoami-v2%2Fx.css',
    '/api/Whoami-v2',
  ])('a target that only looks like a document is none: %s', (target) => {
    expect(parseHubUrl(target, '/')).toMatchObject({ kind: 'other' })
  })

  it.each([
    [`/api/models/u/r/tree/${SHA}`, true],
    [`/api/models/u/r/tree/${SHA}/sub?recursive=true&expand=false&limit=10`, true],
    [`/api/models/u/r/tree/${SHA}?expand=False`, true],
    [`/api/models/u/r/tree/${SHA}?expand=true`, false],
    [`/api/models/u/r/tree/${SHA}?expand[]=x`, false],
    [`/api/models/u/r/tree/${SHA}?%65xpand%5B%5D=x`, false],
    [`/api/models/u/r/tree/${SHA}?expand`, false],
    [`/api/models/u/r/tree/${SHA}?expand=false&expand=true`, false],
    ['/api/models/u/r/tree/main', false],
    [`/api/models/u/r/revision/${SHA}`, false],
    [`/api/models/u/r/paths-info/${SHA}`, false],
  ])('%s is immutable: %s', (target, immutable) => {
    expect(parseHubUrl(target, '/')).toMatchObject({ immutable })
  })

  it.each(['/api/models/u/r--x', '/api/models/u%2Fr', '/api/datasets/.x/tree/main'])(
    'the repo id of %s is refused',
    (target) => {
      expect(refusalOf(target)).toBe('bad_url')
    },
  )
})

describe('Xet tokens', () => {
  it.each([
    ['/api/models/u/r/xet-read-token/main', false, 'main'],
    ['/api/models/gpt2/xet-read-token/refs%2Fpr%2F1', false, 'refs/pr/1'],
    ['/api/models/u/r/xet-write-token/None?create_pr=1', true, 'None'],
    ['/api/models/u/r/xet-read-token', false, undefined],
  ])('reads %s', (target, write, revision) => {
    expect(parseHubUrl(target, '/')).toMatchObject({ kind: 'xet-token', write, revision })
  })
})

describe('other routes', () => {
  it.each([
    ['/', '/', undefined],
    ['/u/r', '/u/r', 'u/r'],
    ['/gpt2', '/gpt2', 'gpt2'],
    ['/u/r/raw/main/%c3%a9%20%61', '/u/r/raw/main/%C3%A9%20a', 'u/r'],
    ['/u/r/raw/main/\xc3\xa9[1]', '/u/r/raw/main/%C3%A9%5B1%5D', 'u/r'],
    ['/u/r/blob/refs%2fpr%2f1/x', '/u/r/blob/refs%2Fpr%2F1/x', 'u/r'],
    ['/u/r/resolve/main', '/u/r/resolve/main', 'u/r'],
    ['/u/r.git/info/refs?service=git-upload-pack', '/u/r.git/info/refs?service=git-upload-pack', 'u/r'],
    ['/v2/u/r/blobs/sha256:abc', '/v2/u/r/blobs/sha256:abc', 'u/r'],
    ['/v2/u/r/blobs/sha256%3aabc', '/v2/u/r/blobs/sha256%3Aabc', 'u/r'],
    ['/v2/', '/v2/', undefined],
    ['/v2/u/a..b/manifests/latest', '/v2/u/a..b/manifests/latest', undefined],
    ['/api/models/u/r/compare/a..b', '/api/models/u/r/compare/a..b', 'u/r'],
    ['/api/models/u/r/new-thing/1', '/api/models/u/r/new-thing/1', 'u/r'],
    ['/api/organizations/u/billing', '/api/organizations/u/billing', undefined],
    ['/api/x/?q=\xc3\xa9', '/api/x/?q=%C3%A9', undefined],
    ["/assets/a,b;c=d@e!$&'()*+", "/assets/a,b;c=d@e!$&'()*+", undefined],
  ])('passes %s on as %s', (raw, target, id) => {
    const expected = { kind: 'other', target, repo: id === undefined ? undefined : repo(id) }
    expect(parseHubUrl(raw, '/')).toMatchObject(expected)
  })
})

describe('isWriteRoute', () => {
  it.each([
    ['GET', '/u/r/resolve/main/x', false],
    ['HEAD', '/u/r/resolve/main/x', false],
    ['PUT', '/u/r/resolve/main/x', true],
    ['GET', '/api/models/u/r', false],
    ['DELETE', '/api/models/u/r', true],
    ['POST', '/api/models/u/r/paths-info/main', false],
    ['PUT', '/api/models/u/r/paths-info/main', true],
    ['POST', '/api/models/u/r/branch/paths-info', true],
    ['POST', '/api/models/u/r/tag/paths-info%2Fmain', true],
    ['POST', '/api/buckets/u/b/paths-info', false],
    ['POST', '/api/buckets/u/b/batch', true],
    ['POST', '/api/validate-yaml', false],
    ['POST', '/api/models/u/r/preupload/main', true],
    ['POST', '/api/models/u/r/commit/main', true],
    ['POST', '/api/repos/create', true],
    ['DELETE', '/api/repos/delete', true],
    ['OPTIONS', '/api/repos/create', false],
    ['get', '/api/repos/create', true],
    ['POST', '/u/r.git/info/lfs/objects/batch', false],
    ['POST', '/datasets/u/r.git/info/lfs/objects/batch', false],
    ['POST', '/u/r.git/info/lfs/objects/batch/x', true],
    ['POST', '/u/r.git/git-upload-pack', false],
    ['POST', '/u/r/git-upload-pack', false],
    ['POST', '/u/r.git/git-receive-pack', true],
    ['GET', '/u/r.git/info/refs?service=git-upload-pack', false],
    ['GET', '/u/r.git/info/refs?service=git-receive-pack', true],
    ['GET', '/u/r.git/info/refs?service=git%2Dreceive-pack', true],
    ['GET', '/api/models/u/r/xet-read-token/main', false],
    ['GET', '/api/models/u/r/xet-write-token/main', true],
    ['POST', '/u/r/ask-access', true],
  ])('%s %s: %s', (method, target, isWrite) => {
    expect(isWriteRoute(parseHubUrl(target, '/'), method)).toBe(isWrite)
  })
})
