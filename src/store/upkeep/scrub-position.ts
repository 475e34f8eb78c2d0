// Where a pass over the blobs has got to: one small file beside FORMAT, from which the next process continues. What a pass
// does is known in scrub.ts.

import { readFile, rm } from 'node:fs/promises'
import path from 'node:path'
import { parseRecord } from '../../records.ts'
import { ifThere, writeAtomic } from '../atomic.ts'
import { type BlobKey, isBlobKey } from '../digest.ts'
import type { Layout } from '../layout.ts'

/** The pass of `hubmirror verify` and that of the running mirror each have a position of their own. */
export type ScrubName = 'verify' | 'scrub'

/** The blob after which a pass continues, and what it has found so far. */
export interface ScrubPosition {
  readonly after: BlobKey
  readonly startedAt: number
  readonly blobs: number
  readonly sizeBytes: number
  readonly damaged: number
  readonly refused: number
}

/** The position that an earlier process left; undefined when there is none, or it is damaged. */
export async function readPosition(layout: Layout, name: ScrubName): Promise<ScrubPosition | undefined> {
  const text = await ifThere(readFile(fileOf(layout, name), 'utf8'))
  return text === undefined ? undefined : parsePosition(text)
}

/** Stores the position. It survives a crash of the process; after a power cut the pass may begin from the start. */
export async function writePosition(layout: Layout, name: ScrubName, position: ScrubPosition): Promise<void> {
  await writeAtomic(layout.tmp, fileOf(layout, name), JSON.stringify(position), { durable: false })
}

/** Removes the position: the next pass begins from the start. */
export async function clearPosition(layout: Layout, name: ScrubName): Promise<void> {
  await rm(fileOf(layout, name), { force: true })
}

function fileOf(layout: Layout, name: ScrubName): string {
  return path.join(layout.root, `${name}.json`)
}

function parsePosition(text: string): ScrubPosition | undefined {
  const { after, startedAt, blobs, sizeBytes, damaged, refused } = parseRecord(text) ?? {}
  if (typeof after !== 'string' || !isBlobKey(after)) return undefined
  if (!isCount(startedAt) || !isCount(blobs) || !isCount(sizeBytes)) return undefined
  if (!isCount(damaged) || !isCount(refused)) return undefined
  return { after, startedAt, blobs, sizeBytes, damaged, refused }
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}
