// A directory for the store of one test, and the keys of given bytes.

import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { onTestFinished } from 'vitest'
import type { BlobKey } from '../../../src/store/digest.ts'
import type { DiskStore } from '../../../src/store/disk-store.ts'
import { openStore, type StoreOptions } from '../../../src/store/disk-store.ts'
import { createLayout, type Layout } from '../../../src/store/layout.ts'
import { silentObserver } from '../../../src/telemetry/observer.ts'

/** An empty directory that is removed after the test. */
export async function scratchDirectory(): Promise<string> {
  const root = await mkdtemp(path.join(tmpdir(), 'hubmirror-store-'))
  onTestFinished(() => rm(root, { recursive: true, force: true }))
  return root
}

/** The paths of a store of which only tmp/ and facts/ exist. */
export async function scratchLayout(): Promise<Layout> {
  const layout = createLayout(await scratchDirectory())
  for (const folder of [layout.tmp, layout.facts]) await mkdir(folder, { mode: 0o700 })
  return layout
}

/** A store on `root` without limits; the test closes it. */
export function open(root: string, options: Partial<StoreOptions> = {}): Promise<DiskStore> {
  return openStore({
    root,
    maxBytes: undefined,
    minFreeBytes: 0,
    memoryBytes: 1_000_000,
    now: Date.now,
    observer: silentObserver,
    ...options,
  })
}

export function sha256Key(bytes: Uint8Array): BlobKey {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}

/** Bytes that do not repeat soon, so that a block in place of another is noticed. */
export function patternBytes(sizeBytes: number, seed = 1): Buffer {
  const bytes = Buffer.alloc(sizeBytes)
  let state = seed
  for (let index = 0; index < sizeBytes; index += 1) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    // Never zero, so that a hole differs from bytes.
    bytes[index] = (state >>> 16) % 255 || 255
  }
  return bytes
}
