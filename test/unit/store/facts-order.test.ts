// Changes of one fact reach the disk in the order in which they were made.

import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { createLayout } from '../../../src/store/layout.ts'
import { type OpenFacts, openFacts } from '../../support/open-facts.ts'

async function scene(
  memoryBytes = 1_000_000,
): Promise<{ facts: OpenFacts; again: () => Promise<OpenFacts> }> {
  const root = await mkdtemp(join(tmpdir(), 'hubmirror-facts-'))
  onTestFinished(() => rm(root, { recursive: true, force: true }))
  const layout = createLayout(root)
  await mkdir(layout.facts)
  let open: OpenFacts | undefined
  const again = async () => {
    await open?.close()
    open = await openFacts(layout, { memoryBytes })
    return open
  }
  onTestFinished(() => open?.close())
  return { facts: await again(), again }
}

it('a removal is not undone by the write before it', async () => {
  const { facts, again } = await scene()
  for (let round = 0; round < 50; round += 1) {
    const key = `repo ${round}`
    await Promise.all([facts.write('repos', key, { public: true }), facts.remove('repos', key)])
  }
  const later = await again()
  for (let round = 0; round < 50; round += 1)
    expect(await later.read('repos', `repo ${round}`)).toBeUndefined()
})

it('the last of many concurrent writes stays', async () => {
  const { facts, again } = await scene()
  await Promise.all(Array.from({ length: 30 }, (_, value) => facts.write('refs', 'main', { value })))
  expect(await (await again()).read('refs', 'main')).toEqual({ value: 29 })
})

it('a fact that does not fit into memory is read after its write', async () => {
  const { facts } = await scene(0)
  void facts.write('documents', 'x', { body: 'y'.repeat(1000) })
  expect(await facts.read('documents', 'x')).toEqual({ body: 'y'.repeat(1000) })
})

it('after the close no change is under way, and none begins', async () => {
  const { facts, again } = await scene()
  for (let index = 0; index < 20; index += 1) void facts.write('files', `f${index}`, { index })
  const closing = facts.close()
  const late = facts.write('files', 'late', { late: true })
  await Promise.all([closing, late])
  const other = await again()
  expect(await other.read('files', 'late')).toBeUndefined()
  await other.close()
  expect(await facts.read('files', 'late'), 'in memory').toEqual({ late: true })
  await facts.remove('files', 'f18')
  expect(await (await again()).read('files', 'f18'), 'removed all the same').toBeUndefined()
  expect(await (await again()).read('files', 'f19')).toEqual({ index: 19 })
})
