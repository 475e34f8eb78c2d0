// A store with some hundreds of facts, for tests that damage their table.

import path from 'node:path'
import { expect } from 'vitest'
import type { DiskStore } from '../../src/store/disk-store.ts'
import { createLayout, type Layout } from '../../src/store/layout.ts'
import { open, scratchDirectory } from '../unit/store/scratch.ts'

/** How many facts `filled` stores. */
export const COUNT = 400
/** The value of a fact. */
export const valueOf = (index: number) => ({ index, text: `value ${index} `.repeat(20) })

/** Makes a store with `COUNT` facts, and closes it. */
export async function filled(): Promise<{ root: string; layout: Layout; file: string }> {
  const root = await scratchDirectory()
  const store = await open(root)
  await Promise.all(
    Array.from({ length: COUNT }, (_, index) => store.facts.write('files', `f${index}`, valueOf(index))),
  )
  await store.close()
  const layout = createLayout(root)
  return { root, layout, file: path.join(layout.facts, 'data.mdb') }
}

/** Opens the store, and tells how many facts it has. All of them are right. */
export async function rightFacts(store: DiskStore): Promise<number> {
  let count = 0
  for (let index = 0; index < COUNT; index += 1) {
    const value = await store.facts.read('files', `f${index}`).catch(() => undefined)
    if (value === undefined) continue
    expect(value).toEqual(valueOf(index))
    count += 1
  }
  return count
}
