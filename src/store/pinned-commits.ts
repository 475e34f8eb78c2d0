// What pins keep, on the disk: one file beside FORMAT that says which blobs belong to the commits of each pinned revision. It
// is read before anything can be evicted. What is in it is decided in pins/.

import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { isRecord, parseRecord } from '../records.ts'
import { ifThere, writeAtomic } from './atomic.ts'
import { type BlobKey, isBlobKey } from './digest.ts'
import { createLayout } from './layout.ts'

export interface PinnedFile {
  readonly key: BlobKey
  readonly sizeBytes: number
}

/** A commit of a pinned revision, and those of its files that are meant and have bytes. */
export interface PinnedCommit {
  readonly commit: string
  /** When the revision was first seen there, epoch ms. */
  readonly seenAt: number
  readonly files: readonly PinnedFile[]
}

/** The commits of pinned revisions, the newest first, by what identifies pin and revision. */
export type PinnedCommits = ReadonlyMap<string, readonly PinnedCommit[]>

/** Reads the file. Resolves with nothing where there is none, and with `damaged` if it cannot be understood. Rejects with the error of the disk. */
export async function readPinnedCommits(cacheDir: string): Promise<PinnedCommits | 'damaged'> {
  const text = await ifThere(readFile(fileOf(cacheDir), 'utf8'))
  return text === undefined ? new Map() : (parseCommits(text) ?? 'damaged')
}

/** Replaces the file, durably. Rejects with the error of the disk. */
export async function writePinnedCommits(cacheDir: string, pinned: PinnedCommits): Promise<void> {
  const revisions = [...pinned].map(([id, commits]) => ({
    id,
    commits: commits.map(({ files, ...rest }) => ({
      ...rest,
      files: files.map(({ key, sizeBytes }) => [key, sizeBytes]),
    })),
  }))
  const { tmp } = createLayout(cacheDir)
  await writeAtomic(tmp, fileOf(cacheDir), JSON.stringify({ revisions }), { durable: true })
}

function fileOf(cacheDir: string): string {
  return path.join(createLayout(cacheDir).root, 'pins.json')
}

function parseCommits(text: string): PinnedCommits | undefined {
  const revisions = parseRecord(text)?.['revisions']
  if (!Array.isArray(revisions)) return undefined
  const pinned = new Map<string, readonly PinnedCommit[]>()
  for (const revision of revisions as unknown[]) {
    if (!isRecord(revision) || typeof revision['id'] !== 'string' || !Array.isArray(revision['commits']))
      return undefined
    const commits = (revision['commits'] as unknown[]).map(parseCommit)
    if (!commits.every((commit) => commit !== undefined)) return undefined
    pinned.set(revision['id'], commits)
  }
  return pinned
}

function parseCommit(value: unknown): PinnedCommit | undefined {
  if (!isRecord(value)) return undefined
  const { commit, seenAt, files } = value
  if (typeof commit !== 'string' || typeof seenAt !== 'number' || !Array.isArray(files)) return undefined
  const parsed = files.map(parseFile)
  return parsed.every((file) => file !== undefined) ? { commit, seenAt, files: parsed } : undefined
}

function parseFile(value: unknown): PinnedFile | undefined {
  const [key, sizeBytes] = Array.isArray(value) ? (value as unknown[]) : []
  if (typeof key !== 'string' || !isBlobKey(key)) return undefined
  return typeof sizeBytes === 'number' && sizeBytes > 0 ? { key, sizeBytes } : undefined
}
