// `hubmirror verify` at a terminal: its user sees how far it is.

import { truncate } from 'node:fs/promises'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { BlobKey } from '../../../src/store/digest.ts'
import { createLayout } from '../../../src/store/layout.ts'
import { writePosition } from '../../../src/store/upkeep/scrub-position.ts'
import { eventually } from '../../support/eventually.ts'
import { linesOn, runInTerminal } from '../../support/terminal.ts'
import { type MadeStore, makeStore, sha256Key } from '../../unit/store/made-store.ts'

const HIDE_CURSOR = '\u001b[?25l'
const SHOW_CURSOR = '\u001b[?25h'
const WRAP = '\u001b[?7h'
const NO_WRAP = '\u001b[?7l'
const COUNT = 20
const SIZE = 500_000

let made: MadeStore
let keys: BlobKey[]
beforeEach(async () => {
  made = await makeStore()
  keys = []
  for (let number = 0; number < COUNT; number += 1) keys.push(await made.blob(Buffer.alloc(SIZE, number)))
  keys.sort()
})
afterEach(() => made.remove())

const verify = (rate: string) => runInTerminal(['verify', '--rate', rate], { HUBMIRROR_CACHE_DIR: made.root })
const percentages = (screen: string) =>
  [...screen.matchAll(/[= ]{24} (\d+)% {2}\S+ \w?B of \S+ MB {2}/g)].map(([, number]) => Number(number))
describe('verify at a terminal', () => {
  it('shows a bar that goes from nothing to all, and damaged files above it', async () => {
    for (const index of [3, 7]) await made.flipBit(keys[index]!)
    const torn = sha256Key(Buffer.from('torn'))
    await made.partial(torn, 1_000_000)
    await truncate(path.join(made.layout.partial(torn), 'blocks'), 20)
    const { ended, screen } = verify('5MB')
    expect(await ended).toBe(1)
    const seen = percentages(screen())
    expect([seen.at(0), seen.at(-1)]).toEqual([0, 100])
    expect(seen).toEqual(seen.toSorted((a, b) => a - b))
    expect(seen.some((percentage) => percentage > 0 && percentage < 100)).toBe(true)
    // Longer than a line of the terminal, and cut nowhere.
    const damage = [3, 7].map(
      (index) => `damaged: ${keys[index]} (500 kB) does not have the digest in its name; moved to quarantine`,
    )
    const [bar, ...rest] = linesOn(screen()).slice(4)
    expect(linesOn(screen()).slice(0, 4)).toEqual(
      damage.flatMap((line) => [line.slice(0, 80), line.slice(80)]),
    )
    expect(bar).toMatch(/^={24} 100% {2}10 MB of 10 MB {2}\S+ MB\/s {2}0s left$/)
    // Damage that is found after the end of the bar is printed below it.
    const partial = `damaged: the map of blocks of partial ${torn}`
    expect(rest.join('')).toContain(partial)
    expect(rest.at(-1)).toBe('verified 20 blobs, 10 MB; 2 damaged; 1 unfinished blob given up')
    expect(screen().lastIndexOf(WRAP)).toBeGreaterThan(screen().lastIndexOf(NO_WRAP))
    expect(screen().lastIndexOf(SHOW_CURSOR)).toBeGreaterThan(screen().lastIndexOf(HIDE_CURSOR))
  })

  it('begins at the position of an earlier run', async () => {
    await writePosition(createLayout(made.root), 'verify', {
      after: keys[14]!,
      startedAt: Date.now(),
      blobs: 15,
      sizeBytes: 15 * SIZE,
      damaged: 0,
      refused: 0,
    })
    const { ended, screen } = verify('5MB')
    expect(await ended).toBe(0)
    const seen = percentages(screen())
    expect([seen.at(0), seen.at(-1)]).toEqual([75, 100])
    expect(linesOn(screen()).at(-1)).toBe(
      'verified 20 blobs, 10 MB; no damage; including the work of an earlier run',
    )
  })

  it('ended by Ctrl-C shows the cursor again', async () => {
    // Half a minute for all of it without an interruption.
    const { ended, screen, type } = verify('300KB')
    await eventually(
      () => percentages(screen()),
      (seen) => (seen.at(-1) ?? 0) > 0,
    )
    type('\u0003')
    expect(await ended).toBe(130)
    expect(linesOn(screen()).at(-1)).toMatch(
      /^interrupted after \d+ blobs?, .*; the next run continues here$/,
    )
    expect(percentages(screen()).at(-1)).toBeLessThan(100)
    expect(screen().lastIndexOf(SHOW_CURSOR)).toBeGreaterThan(screen().lastIndexOf(HIDE_CURSOR))
  })
})
