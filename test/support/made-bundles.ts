// Bundles that a test makes by itself, of any rows and members. Knows the format, and no mirror.

import { createHash } from 'node:crypto'
import { tarEnd, tarHeader, tarPadding } from '../../src/commands/bundle/tar.ts'

/** A line of a manifest. */
export type Row = Record<string, unknown>
/** Names and bytes, in their order in the tar file. */
export type Members = (readonly [string, Buffer])[]

/** The commit of the repo that `brought` describes. */
export const COMMIT = 'c'.repeat(40)

/** SHA-256 in hex. */
export function digest(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** The rows and members of a correct bundle: the public model `acme/brought`, whose branch `main` has one file, `w.bin`. */
export function brought(bytes: Buffer) {
  const sha256 = digest(bytes)
  const key = `sha256:${sha256}`
  const model = 'models/acme/brought'
  const text = Buffer.from(
    JSON.stringify({ id: 'acme/brought', sha: COMMIT, siblings: [{ rfilename: 'w.bin' }] }),
  )
  const repo: Row = { kind: 'repo', repo: model, isPublic: true }
  const ref: Row = { kind: 'ref', repo: model, revision: 'main', commit: COMMIT }
  const file: Row = {
    kind: 'file',
    repo: model,
    commit: COMMIT,
    path: 'w.bin',
    etag: sha256,
    lfs: true,
    key,
    sizeBytes: bytes.length,
  }
  const blob: Row = { kind: 'blob', key, sizeBytes: bytes.length, isCarried: true }
  const info: Row = {
    kind: 'document',
    repo: model,
    target: `/api/models/acme/brought/revision/${COMMIT}`,
    commit: COMMIT,
    sha256: digest(text),
    sizeBytes: text.length,
  }
  const rows = [repo, ref, file, blob, info]
  const members: Members = [
    [`blobs/sha256/${sha256}`, bytes],
    [`documents/${digest(text)}`, text],
  ]
  return { repo, ref, file, blob, info, rows, members }
}

/** A bundle of these rows and members. `head` changes fields of its `bundle.json`. */
export function bundleOf(rows: readonly Row[], members: Members, head: Row = {}): Buffer {
  const manifest = Buffer.from(rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
  const first = {
    format: 'hubmirror bundle 1',
    sha256: digest(manifest),
    sizeBytes: manifest.length,
    createdAt: '2026-01-01T00:00:00.000Z',
    ...head,
  }
  const all: Members = [
    ['bundle.json', Buffer.from(JSON.stringify(first))],
    ['manifest.jsonl', manifest],
    ...members,
  ]
  const parts = all.flatMap(([name, bytes]) => [
    tarHeader(name, bytes.length),
    bytes,
    tarPadding(bytes.length),
  ])
  return Buffer.concat([...parts, tarEnd()])
}
