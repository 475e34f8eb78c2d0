// Manifests that hubmirror has not made: which line is refused, why, and what bounds the disk that a small bundle can take.

import { describe, expect, it } from 'vitest'
import {
  formatManifest,
  type Manifest,
  ManifestRoom,
  parseManifest,
} from '../../../src/commands/bundle/manifest.ts'
import { expectedMembers } from '../../../src/commands/bundle/read.ts'
import { fileNames } from '../../../src/commands/bundle/verify.ts'
import { commit, repo } from '../hub/repo.ts'

type Row = Record<string, unknown>

const MIB = 1024 * 1024
const COMMIT = commit('c')
const SHA256 = 'a'.repeat(64)
const MODEL = 'models/acme/brought'
const REPO: Row = { kind: 'repo', repo: MODEL, isPublic: true }
const REF: Row = { kind: 'ref', repo: MODEL, revision: 'main', commit: COMMIT }
const FILE: Row = {
  kind: 'file',
  repo: MODEL,
  commit: COMMIT,
  path: 'w.bin',
  etag: SHA256,
  lfs: true,
  key: `sha256:${SHA256}`,
  sizeBytes: 5,
}
const BLOB: Row = { kind: 'blob', key: `sha256:${SHA256}`, sizeBytes: 5, isCarried: true }
const DOCUMENT: Row = {
  kind: 'document',
  repo: MODEL,
  target: '/a',
  commit: COMMIT,
  sha256: SHA256,
  sizeBytes: 5,
}
const REGISTRY: Row = {
  accept: 'application/json',
  isLlama: true,
  contentType: 'application/json',
  headers: {},
  blobs: [`sha256:${SHA256}`],
}
const TAG: Row = { ...DOCUMENT, commit: undefined, target: '/v2/acme/brought/manifests/latest' }

const parse = (...rows: readonly Row[]): Manifest =>
  parseManifest(Buffer.from(rows.map((row) => `${JSON.stringify(row)}\n`).join('')))

/** What the last row is refused for. */
const WRONG: readonly (readonly [string, readonly Row[]])[] = [
  ['does not know its kind', [{ kind: 'link' }]],
  ['names no repo', [{ ...REPO, repo: 'models/../x' }]],
  ['whether the repo is public', [{ ...REPO, isPublic: 1 }]],
  ['names the same repo', [REPO, REPO]],
  ['name is no id', [{ ...REPO, name: 'a/b/c' }]],
  ['licence is no short list', [{ ...REPO, licence: [1] }]],
  ['no line before it names its repo', [REF]],
  ['no name of a branch', [REPO, { ...REF, revision: COMMIT }]],
  ['commit is no commit hash', [REPO, { ...REF, commit: 'main' }]],
  ['names the same revision', [REPO, REF, { ...REF, commit: commit('d') }]],
  ['no line before it names its repo', [FILE]],
  ['commit is no commit hash', [REPO, { ...FILE, commit: 'main' }]],
  ['whether Git LFS has the file', [REPO, { ...FILE, lfs: 'yes' }]],
  ['size is no number of bytes', [REPO, { ...FILE, sizeBytes: -1 }]],
  ['path is no path', [REPO, { ...FILE, path: '../w.bin' }]],
  ['etag is none that the Hub gives', [REPO, { ...FILE, etag: '"' }]],
  ['key is no digest', [REPO, { ...FILE, key: 'sha256:../x' }]],
  ['etag is not the digest', [REPO, { ...FILE, etag: 'b'.repeat(64) }]],
  ['no media type', [REPO, { ...FILE, contentType: 'a/b\r\nx: y' }]],
  ['not the digest of no bytes', [REPO, { ...FILE, sizeBytes: 0 }]],
  ['names the same file', [REPO, FILE, FILE]],
  ['key is no digest', [{ ...BLOB, key: 'opaque:x' }]],
  ['size is no number of bytes', [{ ...BLOB, sizeBytes: 0 }]],
  ['whether the bundle has its bytes', [{ ...BLOB, isCarried: 1 }]],
  ['names the same blob', [BLOB, { ...BLOB, sizeBytes: 6 }]],
  ['no line before it names its repo', [DOCUMENT]],
  ['target is none', [REPO, { ...DOCUMENT, target: '' }]],
  ['sha256 is no digest', [REPO, { ...DOCUMENT, sha256: 'x' }]],
  ['size is no number of bytes', [REPO, { ...DOCUMENT, sizeBytes: 0.5 }]],
  ['a bundle may have documents of', [REPO, { ...DOCUMENT, sizeBytes: 65 * MIB }]],
  ['commit is no commit hash', [REPO, { ...DOCUMENT, commit: 1 }]],
  ['next page is no target', [REPO, { ...DOCUMENT, next: 1 }]],
  ['has the same target', [REPO, DOCUMENT, DOCUMENT]],
  ...[
    { ...REGISTRY, isLlama: 'yes' },
    { ...REGISTRY, accept: 1 },
    { ...REGISTRY, contentType: 'a/b\r\nx: y' },
    { ...REGISTRY, headers: { 'docker-content-digest': 1 } },
    { ...REGISTRY, blobs: ['sha256:../x'] },
    'latest',
  ].map((registry) => ['how the registry was asked', [REPO, { ...TAG, registry }]] as const),
  [
    'has the same target',
    [REPO, BLOB, { ...TAG, registry: REGISTRY }, { ...TAG, registry: { ...REGISTRY, blobs: [] } }],
  ],
  ['another size for the same document', [REPO, DOCUMENT, { ...DOCUMENT, target: '/b', sizeBytes: 6 }]],
]

/** As many documents with one body of 64 MiB. */
const repeated = (count: number): readonly Row[] =>
  Array.from({ length: count }, (_, index) => ({ ...DOCUMENT, target: `/${index}`, sizeBytes: 64 * MIB }))

describe('the manifest of a bundle', () => {
  it.each(WRONG)('is refused with the line, the cause and the cure: %s', (why, rows) => {
    let message = ''
    try {
      parse(...rows)
    } catch (error) {
      message = String(error)
    }
    expect(message).toContain(`line ${rows.length} of manifest.jsonl is wrong: `)
    expect(message).toContain(why)
    expect(message).toContain('; make the bundle again')
    // The lines before it are right.
    const before = rows.slice(0, -1)
    const rest = before.includes(FILE) ? [BLOB] : []
    expect(() => parse(...before, ...rest)).not.toThrow()
  })

  it('is refused for a line that is no JSON, and for a file without a blob', () => {
    expect(() => parseManifest(Buffer.from('{"kind":\n'))).toThrow(/line 1 .*no JSON object; make the bundle/)
    expect(() => parse(REPO, FILE)).toThrow(/no blob of the right size for "w\.bin"; make the bundle/)
    expect(() => parse(REPO, { ...TAG, registry: REGISTRY })).toThrow(/a blob for "\/v2\/.*; make the bundle/)
    // The fields of the request tell two manifests apart.
    const rows = [true, false].map((isLlama) => ({ ...TAG, registry: { ...REGISTRY, isLlama } }))
    expect(parse(REPO, BLOB, ...rows).documents.length).toBe(2)
  })

  it('may name one body for several requests, up to 256 MiB more than the bundle carries', () => {
    expect(parse(REPO, ...repeated(5)).documents.length).toBe(5)
    expect(() => parse(REPO, ...repeated(6))).toThrow(/line 7 .*several lines name take more than/)
    // Bodies that differ have their bytes in the bundle.
    const own = repeated(20).map((row, index) => ({ ...row, sha256: index.toString(16).padStart(64, '0') }))
    expect(parse(REPO, ...own).documents.length).toBe(20)
  })

  it('may have documents about branches of 64 MiB in all, which are held in memory', () => {
    const lists = Array.from({ length: 3 }, (_, index) => ({
      ...DOCUMENT,
      target: `/api/models/acme/brought/refs${index === 0 ? '' : `?include_prs=${index}`}`,
      sha256: String(index).repeat(64),
      sizeBytes: 32 * MIB,
    }))
    expect(parse(REPO, ...lists.slice(0, 2)).documents.length).toBe(2)
    expect(() => parse(REPO, ...lists)).toThrow(
      /line 4 .*lists of refs and the manifests of the registry take more than/,
    )
  })

  it('is written only if it would be read', () => {
    const about = { createdAt: new Date(0), since: undefined }
    const of = (count: number): Manifest => ({
      refs: [],
      files: [],
      blobs: [],
      repos: [{ repo: repo('acme/brought'), isPublic: true }],
      documents: parse(REPO, ...repeated(5))
        .documents.concat(parse(REPO, ...repeated(6).slice(5)).documents)
        .slice(0, count),
    })
    expect(parseManifest(formatManifest(of(5), about).body)).toEqual(of(5))
    expect(() => formatManifest(of(6), about)).toThrow(/^\/5: .*make several bundles/)
  })

  it('expects one member for all requests that it answers, in their order', () => {
    const other = { ...DOCUMENT, target: '/other', sha256: 'b'.repeat(64) }
    const members = expectedMembers(parse(REPO, FILE, BLOB, ...repeated(3), other))
    expect(
      [...members].map(([name, one]) => [
        name,
        one.kind === 'blob' ? one.blob.key : one.documents.map(({ target }) => target),
      ]),
    ).toEqual([
      [`blobs/sha256/${SHA256}`, `sha256:${SHA256}`],
      [`documents/${SHA256}`, ['/0', '/1', '/2']],
      [`documents/${'b'.repeat(64)}`, ['/other']],
    ])
  })

  it('is read once for the names of all files whose members are faulty', () => {
    const blobs = Array.from({ length: 20 }, (_, index) => index.toString(16).padStart(64, '0'))
    const rows = blobs.flatMap((etag) =>
      ['first', 'second'].map((name) => ({ ...FILE, path: `${name}-${etag}`, etag, key: `sha256:${etag}` })),
    )
    const sizes = blobs.map((etag) => ({ ...BLOB, key: `sha256:${etag}` }))
    const manifest = parse(REPO, ...rows, ...sizes)
    let reads = 0
    const files = manifest.files.map((row) => ({
      ...row,
      get key() {
        reads += 1
        return row.key
      },
    }))
    const nameOf = fileNames(files)
    const members = [...expectedMembers(manifest).values()]
    expect([members.length, reads]).toEqual([20, 0])
    expect(members.map(nameOf)).toEqual(blobs.map((etag) => ` (acme/brought/first-${etag})`))
    expect(reads).toBe(40)
    const [answer] = expectedMembers(parse(REPO, DOCUMENT)).values()
    expect(nameOf(answer!)).toBe('')
  })
})

it('refuses files while they are found, before their manifest would be larger than a reader takes', () => {
  const room = new ManifestRoom()
  const file = { path: 'x'.repeat(1024 * 1024) }
  const add = (times: number): void => {
    for (let count = 0; count < times; count += 1) room.add(file)
  }
  expect(() => add(255)).not.toThrow()
  expect(() => add(1)).toThrow('too many files; make several bundles')
})

it('writes lines that a reader reads, however many pieces they make', () => {
  const large = repo('acme/large')
  const refs = Array.from({ length: 30_000 }, (_, index) => ({
    repo: large,
    revision: `branch-${index}`,
    commit: COMMIT,
  }))
  const manifest = { repos: [{ repo: large, isPublic: true }], refs, documents: [], files: [], blobs: [] }
  const { body } = formatManifest(manifest, { createdAt: new Date(0), since: undefined })
  expect(body.length).toBeGreaterThan(2 * 1024 * 1024)
  expect(parseManifest(body)).toEqual(manifest)
})
