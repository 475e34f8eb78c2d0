// `hubmirror bundle create`: writes what is stored of repos into one file. It reads the store without the lock, so that a
// mirror may be running, and compares all bytes with their digests again on the way.

import type { FileHandle } from 'node:fs/promises'
import { open } from 'node:fs/promises'
import type { Config } from '../../config/keys.ts'
import type { PathTest } from '../../hub/file-patterns.ts'
import { ifThere } from '../../store/atomic.ts'
import { hasDigest, Verifier } from '../../store/digest.ts'
import { createLayout, type Layout } from '../../store/layout.ts'
import { requireStore } from '../../store/prepare.ts'
import { withTable } from '../../store/table/table.ts'
import type { Wanted } from '../prefetch/listing.ts'
import { formatRepo } from '../repo-argument.ts'
import { formatSize, plural } from '../store-output.ts'
import {
  type BundledBlob,
  blobName,
  documentMember,
  formatManifest,
  HEAD_NAME,
  MANIFEST_NAME,
  type Manifest,
} from './manifest.ts'
import { type BundleSink, openSink, withSource } from './parts.ts'
import { readManifest } from './read.ts'
import { type Found, findStored, NotStored, withSmallBytes } from './stored-repos.ts'
import { tarEnd, tarHeader, tarPadding } from './tar.ts'

const READ_BYTES = 1024 * 1024

export interface CreateOptions {
  readonly file: string
  readonly wanted: readonly Wanted[]
  readonly isMeant: PathTest
  readonly withPrivate: boolean
  readonly splitBytes: number | undefined
  /** A manifest, or a bundle. */
  readonly since: string | undefined
  readonly signal: AbortSignal
}

/**
 * Writes the bundle, and a report to stderr. Rejects with NotStored, UnusableBundle, BadArchive and DiskFailure, and with errors of the
 * store's disk. It leaves no file then.
 */
export async function createBundle(config: Config, options: CreateOptions): Promise<void> {
  const { wanted, isMeant, withPrivate, signal } = options
  const layout = createLayout(config.cacheDir)
  await requireStore(layout)
  const base = options.since === undefined ? undefined : await withSource(options.since, signal, readManifest)
  const there = new Map(base?.manifest.blobs.map(({ key, sizeBytes }) => [key, sizeBytes]))
  const found = await withTable(layout.facts, { readOnly: true }, (table) =>
    findStored(table, { config, wanted, isMeant, withPrivate }),
  )
  const blobs = found.blobs.map(
    (blob): BundledBlob => ({ ...blob, isCarried: there.get(blob.key) !== blob.sizeBytes }),
  )
  const manifest: Manifest = { ...found, blobs, documents: found.documents.map(({ row }) => row) }
  const since = blobs.some(({ isCarried }) => !isCarried) ? base?.name : undefined
  const { head, body, name } = formatManifest(manifest, { createdAt: new Date(), since })

  const sink = await openSink(options.file, options.splitBytes)
  try {
    await writeMember(sink, HEAD_NAME, head)
    await writeMember(sink, MANIFEST_NAME, body)
    const carried = blobs.filter(({ isCarried }) => isCarried)
    for await (const { item: blob, small } of withSmallBytes(layout, carried)) {
      signal.throwIfAborted()
      await writeBlob(sink, blob, { layout, found, small, signal })
    }
    const written = new Set<string>()
    for (const { row, body: bytes } of found.documents) {
      if (!written.has(row.sha256)) await writeMember(sink, documentMember(row.sha256), bytes)
      written.add(row.sha256)
    }
    await sink.write(tarEnd())
    const names = await sink.finish()
    report(manifest, { file: names[0] ?? 'stdout', parts: names.length, name, since })
  } catch (error) {
    await sink.abandon()
    throw error
  }
}

async function writeMember(sink: BundleSink, name: string, bytes: Buffer): Promise<void> {
  await sink.write(tarHeader(name, bytes.length))
  await sink.write(bytes)
  await sink.write(tarPadding(bytes.length))
}

interface Stored {
  readonly layout: Layout
  readonly found: Found
  readonly small: Buffer | undefined
  readonly signal: AbortSignal
}

async function writeBlob(sink: BundleSink, blob: BundledBlob, stored: Stored): Promise<void> {
  const { key, sizeBytes } = blob
  const { small, layout } = stored
  if (small !== undefined) {
    if (small.length !== sizeBytes || !hasDigest(key, small)) throw damaged(blob, stored.found)
    await writeMember(sink, blobName(key), small)
    return
  }
  const handle = await ifThere(open(layout.blob(key)))
  if (handle === undefined) throw missing(blob, stored.found)
  try {
    if ((await handle.stat()).size !== sizeBytes) throw damaged(blob, stored.found)
    await sink.write(tarHeader(blobName(key), sizeBytes))
    await copy(sink, handle, blob, stored)
    await sink.write(tarPadding(sizeBytes))
  } finally {
    await handle.close()
  }
}

async function copy(
  sink: BundleSink,
  handle: FileHandle,
  blob: BundledBlob,
  { signal, found }: Stored,
): Promise<void> {
  const verifier = new Verifier(blob.key, blob.sizeBytes)
  const buffer = Buffer.allocUnsafe(READ_BYTES)
  while (verifier.position < blob.sizeBytes) {
    signal.throwIfAborted()
    const most = Math.min(READ_BYTES, blob.sizeBytes - verifier.position)
    const { bytesRead } = await handle.read(buffer, 0, most)
    if (bytesRead === 0) break
    const piece = buffer.subarray(0, bytesRead)
    verifier.update(piece)
    await sink.write(piece)
  }
  if (!verifier.matches()) throw damaged(blob, found)
}

/** The first file with these bytes, as a person names it, and its repo. */
function fileOf({ key }: BundledBlob, { files, refs }: Found) {
  const file = files.find((one) => one.key === key)
  if (file === undefined) return { name: key, repo: '' }
  const ref = refs.find(({ commit, repo }) => commit === file.commit && repo.id === file.repo.id)
  const repo = formatRepo(file.repo)
  return { name: `${repo}/${file.path}`, repo: `${repo}@${ref?.revision ?? file.commit}` }
}

function missing(blob: BundledBlob, found: Found): NotStored {
  const { name, repo } = fileOf(blob, found)
  return new NotStored(
    `${name} is not stored. Fetch it first: hubmirror prefetch ${repo}, or leave it out by --include or --exclude.`,
  )
}

function damaged(blob: BundledBlob, found: Found): NotStored {
  const { name, repo } = fileOf(blob, found)
  return new NotStored(
    `${name} is damaged in the store. Remove it by hubmirror verify, and fetch it again: hubmirror prefetch ${repo}`,
  )
}

function report(
  { repos, files, blobs }: Manifest,
  about: {
    readonly file: string
    readonly parts: number
    readonly name: string
    readonly since: string | undefined
  },
): void {
  const carried = blobs.filter(({ isCarried }) => isCarried)
  const size = formatSize(carried.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0))
  const parts = about.parts > 1 ? ` and ${plural(about.parts - 1, 'further part')}` : ''
  const lines = [
    `${about.file}${parts}: ${plural(repos.length, 'repo')}, ${plural(files.length, 'file')}, ${plural(carried.length, 'blob')}, ${size}`,
    `name ${about.name}`,
    ...(about.since === undefined ? [] : [`builds on ${about.since}: load that bundle first`]),
    ...privateLines(repos.filter(({ isPublic }) => !isPublic).map(({ repo }) => formatRepo(repo))),
  ]
  process.stderr.write(lines.map((line) => `${line}\n`).join(''))
}

function privateLines(names: readonly string[]): readonly string[] {
  return names.length === 0
    ? []
    : [`private or gated: ${names.join(', ')}. Each reader of this file can read them, so keep it secret.`]
}
