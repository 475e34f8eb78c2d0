// A table in which bits flip, again and again. test/unit/store/table-damage.test.ts has damage of other kinds, once each.

import { readFile, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, it } from 'vitest'
import { BLOBS, COUNT, filled, putBlob, rightBlobs, rightFacts, valueOf } from '../support/filled-store.ts'
import { chance } from '../support/seeded.ts'
import { open } from '../unit/store/scratch.ts'

const ROUNDS = 20

it('a table with flipped bits yields what was written, or nothing, and ends no mirror after the second crash', async () => {
  const { root, layout, file } = await filled()
  const dice = chance('flipped bits')
  const sound = await readFile(file)
  let kept = 0
  let keptBlobs = 0
  for (let round = 0; round < ROUNDS; round += 1) {
    const bytes = Buffer.from(sound)
    for (let flip = 0; flip < 12; flip += 1) {
      const at = dice.below(bytes.length)
      bytes[at] = (bytes[at] ?? 0) ^ (1 << dice.below(8))
    }
    await rm(path.join(layout.facts, 'lock.mdb'), { force: true })
    await writeFile(file, bytes)
    await writeFile(layout.factsInUse, 'again')
    const store = await open(root)
    kept += await rightFacts(store)
    await store.scanned
    keptBlobs += await rightBlobs(store)
    for (let index = 0; index < 40; index += 1) await store.facts.write('files', `f${index}`, valueOf(index))
    for (let index = 0; index < 10; index += 1) await putBlob(store, index)
    await store.close()
  }
  expect(kept).toBeGreaterThan(COUNT)
  expect(keptBlobs).toBeGreaterThan(BLOBS)
})
