// Object ids as `git` computes them: blobs, trees, commits, and the pointer text that stands for an LFS file.
// Knows nothing of repos or branches: it turns values into ids and keeps none of them.

import { createHash } from 'node:crypto'
import type { Content } from './content.ts'

/** One file as a tree sees it. */
export interface TreeFile {
  readonly oid: string
}

/** What a commit object is made of; the author is the committer too. */
export interface CommitFields {
  readonly treeId: string
  readonly parents: readonly string[]
  readonly author: string
  readonly atSeconds: number
  /** As in the object: `+0000`, `-0700`. */
  readonly zone?: string
  readonly message: string
}

/** The blob id of a content: sha1 over `blob <size>\0` and the bytes. */
export function blobId(content: Content): string {
  const hash = createHash('sha1').update(`blob ${content.sizeBytes}\0`)
  for (const piece of content.pieces(0, content.sizeBytes)) hash.update(piece)
  return hash.digest('hex')
}

/** The text that Git stores in place of an LFS file (git-lfs: docs/spec.md). */
export function pointerText(sha256: string, sizeBytes: number): string {
  return `version https://git-lfs.github.com/spec/v1\noid sha256:${sha256}\nsize ${sizeBytes}\n`
}

/** The ids of all directories of a snapshot, by path; the root is `''`. */
export function treeIds(files: ReadonlyMap<string, TreeFile>): Map<string, string> {
  const root: Directory = { files: new Map(), directories: new Map() }
  for (const [path, file] of files) {
    const segments = path.split('/')
    const name = segments.pop() ?? path
    let directory = root
    for (const segment of segments) {
      let next = directory.directories.get(segment)
      if (next === undefined) {
        next = { files: new Map(), directories: new Map() }
        directory.directories.set(segment, next)
      }
      directory = next
    }
    directory.files.set(name, file.oid)
  }
  const ids = new Map<string, string>()
  collectTreeIds(root, '', ids)
  return ids
}

/** The id of a commit object. */
export function commitId(fields: CommitFields): string {
  const person = `${fields.author} ${fields.atSeconds} ${fields.zone ?? '+0000'}`
  const lines = [
    `tree ${fields.treeId}`,
    ...fields.parents.map((parent) => `parent ${parent}`),
    `author ${person}`,
    `committer ${person}`,
    '',
    fields.message.endsWith('\n') ? fields.message : `${fields.message}\n`,
  ]
  return objectId('commit', Buffer.from(lines.join('\n')))
}

interface Directory {
  readonly files: Map<string, string>
  readonly directories: Map<string, Directory>
}

function collectTreeIds(directory: Directory, path: string, ids: Map<string, string>): string {
  const entries: { key: Buffer; mode: string; name: string; oid: string }[] = []
  for (const [name, oid] of directory.files)
    entries.push({ key: Buffer.from(name), mode: '100644', name, oid })
  for (const [name, child] of directory.directories) {
    const oid = collectTreeIds(child, path === '' ? name : `${path}/${name}`, ids)
    // Git sorts a directory as if its name ended in a slash.
    entries.push({ key: Buffer.from(`${name}/`), mode: '40000', name, oid })
  }
  entries.sort((left, right) => Buffer.compare(left.key, right.key))
  const body = Buffer.concat(
    entries.map((entry) =>
      Buffer.concat([Buffer.from(`${entry.mode} ${entry.name}\0`), Buffer.from(entry.oid, 'hex')]),
    ),
  )
  const id = objectId('tree', body)
  ids.set(path, id)
  return id
}

function objectId(type: 'tree' | 'commit', body: Buffer): string {
  return createHash('sha1').update(`${type} ${body.length}\0`).update(body).digest('hex')
}
