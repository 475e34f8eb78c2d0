// The requested files, their content, and the digests of their bytes.

import type { Content } from '../hub-simulator/content.ts'
import type { Change, World } from '../hub-simulator/repos.ts'
import { checksum, type DigestKind } from './client/checksum.ts'
import type { Target } from './client/job.ts'

export interface BenchFile {
  readonly repo: string
  readonly commit: string
  readonly path: string
  readonly content: Content
}

/** First and last byte of a range, as HTTP has it. */
export type Range = readonly [number, number]

const digests = new WeakMap<Content, Map<string, string>>()

/** Adds a new repo to the Hub. */
export function publish(world: World, repo: string, changes: Readonly<Record<string, Change>>): BenchFile[] {
  const model = world.model(repo)
  const commit = model.commit(changes)
  return Object.keys(changes).map((path) => {
    const content = model.commits.get(commit)?.files.get(path)?.content
    if (content === undefined) throw new Error(`${repo} has no ${path}`)
    return { repo, commit, path, content }
  })
}

/** The answer that must come from `url`: `file`, or a range of it. */
export function target(url: string, file: BenchFile, digest: DigestKind, range?: Range): Target {
  const [first, last] = range ?? [0, file.content.sizeBytes - 1]
  const right = { sizeBytes: last + 1 - first, digest: digestOf(file.content, digest, first, last + 1) }
  return range === undefined
    ? { url, right: { status: 200, ...right } }
    : { url, range, right: { status: 206, ...right } }
}

/** The answer to a HEAD: the number of bytes, and no bytes. */
export function headTarget(url: string, file: BenchFile): Target {
  return { url, right: { status: 200, sizeBytes: file.content.sizeBytes } }
}

/** Lower-case hex. Computed once for each requested part. */
export function digestOf(content: Content, kind: DigestKind, start: number, end: number): string {
  const known = digests.get(content) ?? new Map<string, string>()
  digests.set(content, known)
  const key = `${kind} ${start}-${end}`
  const digest = known.get(key) ?? compute(content, kind, start, end)
  known.set(key, digest)
  return digest
}

function compute(content: Content, kind: DigestKind, start: number, end: number): string {
  const sum = checksum(kind)
  for (const piece of content.pieces(start, end)) sum.update(piece)
  return sum.hex()
}

/** The content of small JSON files by name, in the order of a listing. */
export function kilobyteFiles(count: number): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Array.from({ length: count }, (_, index) => [
      `part-${String(index).padStart(5, '0')}.json`,
      JSON.stringify({ index, padding: 'x'.repeat(1000) }),
    ]),
  )
}
