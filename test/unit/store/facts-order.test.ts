// Changes of one fact reach the disk in the order in which they were made.

import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { createFacts, type DiskFacts } from '../../../src/store/facts/facts.ts'
import { createLayout } from '../../../src/store/layout.ts'

async function openFacts(
  memoryBytes = 1_000_000,
): Promise<{ facts: DiskFacts; again: () => DiskFacts; tmp: string }> {
  const root = await mkdtemp(join(tmpdir(), 'hubmirror-facts-'))
  onTestFinished(() => rm(root, { recursive: true, force: true }))
  const layout = createLayout(root)
  await mkdir(layout.tmp)
  const again = () => createFacts(layout, { memoryBytes })
  return { facts: again(), again, tmp: layout.tmp }
}

it('a removal is not undone by the write before it', async () => {
  const { facts, again } = await openFacts()
  for (let round = 0; round < 50; round += 1) {
    const key = `repo ${round}`
    await Promise.all([facts.write('repos', key, { public: true }), facts.remove('repos', key)])
    expect(await again().read('repos', key)).toBeUndefined()
  }
})

it('the last of many concurrent writes stays', async () => {
  const { facts, again } = await openFacts()
  await Promise.all(Array.from({ length: 30 }, (_, value) => facts.write('refs', 'main', { value })))
  expect(await again().read('refs', 'main')).toEqual({ value: 29 })
})

it('a fact that does not fit into memory is read after its write', async () => {
  const { facts } = await openFacts(0)
  void facts.write('documents', 'x', { body: 'y'.repeat(1000) })
  expect(await facts.read('documents', 'x')).toEqual({ body: 'y'.repeat(1000) })
})

it('after the close no change is under way, and none begins', async () => {
  const { facts, again, tmp } = await openFacts()
  for (let index = 0; index < 20; index += 1) void facts.write('files', `f${index}`, { index })
  const closing = facts.close()
  const late = facts.write('files', 'late', { late: true })
  await Promise.all([closing, late])
  expect(await readdir(tmp)).toEqual([])
  expect(await again().read('files', 'late')).toBeUndefined()
  expect(await facts.read('files', 'late'), 'in memory').toEqual({ late: true })
  await facts.remove('files', 'f18')
  expect(await again().read('files', 'f18'), 'removed all the same').toBeUndefined()
  expect(await again().read('files', 'f19')).toEqual({ index: 19 })
})
