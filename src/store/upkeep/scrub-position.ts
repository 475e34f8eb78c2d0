// How far a pass over the blobs has come: one small file beside FORMAT, so that the next process goes on there. It
// does not know what a pass does.

import { readFile, rm } from 'node:fs/promises'
import path from 'node:path'
import { ifThere, writeAtomic } from '../atomic.ts'
import { type BlobKey, isBlobKey } from '../digest.ts'
import type { Layout } from '../layout.ts'

/** Each has a position of its own: the operator's pass and the mirror's. */
export type ScrubName = 'verify' | 'scrub'

/** Where a pass stands, and what it has found so far. */
export interface ScrubPosition {
  readonly after: BlobKey
  readonly startedAt: number
  readonly blobs: number
  readonly sizeBytes: number
  readonly damaged: number
  readonly refused: number
}

/** The position that an earlier process left; undefined when there is none, or none that can be believed. */
export async function readPosition(layout: Layout, name: ScrubName): Promise<ScrubPosition | undefined> {
  const text = await ifThere(readFile(fileOf(layout, name), 'utf8'))
  return text === undefined ? undefined : parsePosition(text)
}

/** Survives a crash of the process; after a power cut the pass may begin anew. */
export async function writePosition(layout: Layout, name: ScrubName, position: ScrubPosition): Promise<void> {
  await writeAtomic(layout.tmp, fileOf(layout, name), JSON.stringify(position), { durable: false })
}

/** The pass is finished, or given up. */
export async function clearPosition(layout: Layout, name: ScrubName): Promise<void> {
  await rm(fileOf(layout, name), { force: true })
}

function fileOf(layout: Layout, name: ScrubName): string {
  return path.join(layout.root, `${name}.json`)
}

function parsePosition(text: string): ScrubPosition | undefined {
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch {
    return undefined
  }
  if (typeof parsed !== 'object' || parsed === null) return undefined
  const { after, startedAt, blobs, sizeBytes, damaged, refused } = parsed as Record<string, unknown>
  if (typeof after !== 'string' || !isBlobKey(after)) return undefined
  if (!isCount(startedAt) || !isCount(blobs) || !isCount(sizeBytes)) return undefined
  if (!isCount(damaged) || !isCount(refused)) return undefined
  return { after, startedAt, blobs, sizeBytes, damaged, refused }
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}
