// A small disk that becomes full at different moments of a command, and what a command says then.

import { expect, onTestFinished } from 'vitest'
import type { run } from './run-cli.ts'
import { chance } from './seeded.ts'
import { mountDisk, type SmallDisk } from './tmpfs.ts'

const PAGE_BYTES = 4096
const PLENTY_BYTES = 64 * 1024 * 1024

/** Opens a disk of 64 MiB for the running test. */
export async function openDisk(): Promise<SmallDisk> {
  const disk = await mountDisk(PLENTY_BYTES / 1024 / 1024)
  onTestFinished(() => disk.unmount())
  return disk
}

/**
 * Runs a command with less and less missing of the room that it needs. The disk must hold a file. `reset` undoes all that the command has
 * done. `check` looks at what is there after each run, while the disk is still full; `complete` runs the command when there is room.
 */
export async function inRooms(
  what: string,
  round: {
    readonly disk: SmallDisk
    readonly begin: () => ReturnType<typeof run>
    readonly check: (result: Awaited<ReturnType<typeof run>>) => Promise<void>
    readonly complete: () => Promise<void>
    readonly reset: () => Promise<void>
  },
): Promise<void> {
  const { disk } = round
  const before = await disk.usedBytes()
  await round.complete()
  const needed = (await disk.usedBytes()) - before
  await round.reset()
  const dice = chance(what)
  const pages = Math.floor(needed / PAGE_BYTES)
  const inside = [0, 1, 2].map((third) => dice.below(((third + 1) * pages) / 3, (third * pages) / 3))
  // The last pages are those of facts and of names.
  const last = [dice.below(pages - 1, pages - 30), pages - 1]
  let failed = 0
  for (const room of [dice.below(2), ...inside, ...last].map(Math.floor)) {
    await disk.leaveFree(room * PAGE_BYTES)
    const result = await round.begin()
    if (result.status !== 0) failed += 1
    console.info(`${what}: ${room} of ${pages} pages, status ${result.status}`)
    await round.check(result)
    await disk.leaveFree(PLENTY_BYTES)
    await round.complete()
    await round.reset()
  }
  expect(failed, 'runs for which the disk was too small').toBeGreaterThanOrEqual(4)
}

/** A command that could not write to a place has ended with one sentence, which names it, the reason and the cure. */
export function expectFull(result: Awaited<ReturnType<typeof run>>, place: string): void {
  expect(result).toEqual({
    status: 1,
    stdout: '',
    stderr: `hubmirror: ${place}: its disk is full (ENOSPC). Make room there, and run the command again.\n`,
  })
}
