// One file of five blocks and a short one, and what tests do with a partial of it.

import { open } from 'node:fs/promises'
import path from 'node:path'
import { expect, type Mock, vi } from 'vitest'
import type { Layout } from '../../../src/store/layout.ts'
import { BLOCK_BYTES } from '../../../src/store/partials/blocks.ts'
import type { DiskPartial } from '../../../src/store/partials/partial.ts'
import { patternBytes, sha256Key } from './scratch.ts'

export const SIZE = 5 * BLOCK_BYTES + 1000
export const BYTES = patternBytes(SIZE)
export const KEY = sha256Key(BYTES)
export const forever = new AbortController().signal

export const dataOf = (layout: Layout): string => path.join(layout.partial(KEY), 'data')
export const blocksOf = (layout: Layout): string => path.join(layout.partial(KEY), 'blocks')

export function put(partial: DiskPartial, start: number, end: number): Promise<void> {
  return partial.write(start, [BYTES.subarray(start, end)])
}

export async function putBlocks(partial: DiskPartial, ...blocks: number[]): Promise<void> {
  for (const block of blocks) {
    const { start, end } = partial.map.rangeOf(block)
    await put(partial, start, end)
  }
}

export async function readAll(partial: DiskPartial, start: number, end: number): Promise<Buffer> {
  const buffer = Buffer.alloc(end - start)
  expect(await partial.read(buffer, 0, buffer.length, start)).toBe(buffer.length)
  return buffer
}

/** The prototype of file handles, to be spied on. `file` only has to exist. */
export async function handlePrototype(file: string): Promise<Record<'datasync' | 'write' | 'writev', Mock>> {
  const handle = await open(file)
  const prototype = Object.getPrototypeOf(handle) as Record<'datasync' | 'write' | 'writev', () => unknown>
  await handle.close()
  return {
    datasync: vi.spyOn(prototype, 'datasync') as Mock,
    write: vi.spyOn(prototype, 'write') as Mock,
    writev: vi.spyOn(prototype, 'writev') as Mock,
  }
}

export const ioError = (): Error => Object.assign(new Error('EIO: i/o error, fdatasync'), { code: 'EIO' })
