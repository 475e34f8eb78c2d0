// Facts on a disk that fills up: no commit is half done, what was stored stays, and facts are stored again once there is room.

import { mkdir, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type DiskFacts, openFacts } from '../../src/store/facts/facts.ts'
import { createLayout, type Layout } from '../../src/store/layout.ts'
import { mountDisk, type SmallDisk, whyNoDisk } from '../support/tmpfs.ts'

const noDisk = await whyNoDisk()
const valueOf = (number: number) => ({ number, text: 'x'.repeat(200) })

let disk: SmallDisk
let layout: Layout
let facts: DiskFacts

/** Resolves with the code of the error, or `stored`. */
const outcomeOf = (number: number): Promise<string> =>
  facts.write('files', `fact ${number}`, valueOf(number)).then(
    () => 'stored',
    (error: Error & { code?: string }) => String(error.code),
  )

describe.skipIf(noDisk !== undefined)('facts on a disk that is full', () => {
  beforeEach(async () => {
    disk = await mountDisk(3)
    layout = createLayout(disk.directory)
    await mkdir(layout.facts)
    facts = await openFacts(layout, { memoryBytes: 0 })
  })

  afterEach(async () => {
    await facts.close()
    await disk.unmount()
  })

  it('are stored whole or not at all, and again once there is room', async () => {
    await writeFile(join(disk.directory, 'ballast'), Buffer.alloc(1_000_000))
    const stored: number[] = []
    const refusals = new Set<string>()
    for (let number = 0; number < 20_000; number += 100) {
      const numbers = Array.from({ length: 100 }, (_, index) => number + index)
      for (const [index, outcome] of (await Promise.all(numbers.map(outcomeOf))).entries()) {
        if (outcome === 'stored') stored.push(number + index)
        else refusals.add(outcome)
      }
    }
    expect(stored.length).toBeGreaterThan(1000)
    expect(refusals.size).toBeGreaterThan(0)
    // A write that the disk cuts short is EIO to LMDB.
    for (const code of refusals) expect(['EIO', 'ENOSPC']).toContain(code)

    await unlink(join(disk.directory, 'ballast'))
    expect(await outcomeOf(30_000)).toBe('stored')
    await facts.close()
    facts = await openFacts(layout, {
      memoryBytes: 0,
      onSetAside() {
        throw new Error('the facts are damaged')
      },
    })
    for (const number of [...stored, 30_000])
      expect(await facts.read('files', `fact ${number}`)).toEqual(valueOf(number))
  })
})
