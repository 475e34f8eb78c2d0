// A small disk that becomes full at different moments of a command, and what a command says then.

import { expect, onTestFinished } from 'vitest'
import { type run, start } from './run-cli.ts'
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
    /** How many rooms are tried in the middle, and how many that lack a few pages. */
    readonly inside?: number
    readonly last?: number
  },
): Promise<void> {
  const { disk, inside = 3, last = 2 } = round
  const before = await disk.usedBytes()
  await round.complete()
  const needed = (await disk.usedBytes()) - before
  await round.reset()
  const dice = chance(what)
  const pages = Math.floor(needed / PAGE_BYTES)
  const rooms = [dice.below(2)]
  for (let nth = 0; nth < inside; nth += 1)
    rooms.push(Math.floor(dice.below(((nth + 1) * pages) / inside, (nth * pages) / inside)))
  // The last pages are those of facts and of names.
  for (let nth = 1; nth < last; nth += 1) rooms.push(dice.below(pages - 1, pages - 30))
  rooms.push(pages - 1)
  let failed = 0
  for (const room of rooms) {
    await disk.leaveFree(room * PAGE_BYTES)
    const result = await round.begin()
    if (result.status !== 0) failed += 1
    console.info(`${what}: ${room} of ${pages} pages, status ${result.status}`)
    await round.check(result)
    await disk.leaveFree(PLENTY_BYTES)
    await round.complete()
    await round.reset()
  }
  expect(failed, 'runs for which the disk was too small').toBeGreaterThanOrEqual(rooms.length / 2)
}

/**
 * Runs `bundle load -`. When the command has read the first `until` bytes of the bundle, the disk has this many bytes left, and the rest
 * follows.
 */
export async function loadUntilFull(
  disk: SmallDisk,
  bundle: Buffer,
  options: {
    readonly env: Readonly<Record<string, string>>
    readonly until: number
    readonly freeBytes: number
  },
): ReturnType<typeof run> {
  const { child, done } = start(['bundle', 'load', '-'], options.env, [], { hasStdin: true })
  const { stdin } = child
  // The command may end before it has read all.
  stdin?.on('error', () => undefined)
  await new Promise<void>((resolve) => {
    stdin?.write(bundle.subarray(0, options.until), () => resolve())
  })
  await disk.leaveFree(options.freeBytes)
  stdin?.end(bundle.subarray(options.until))
  return done
}

/** The store of a command was full: one sentence names it and the cure. LMDB itself prints a line when a write is cut short. */
export function expectStoreFull(
  { status, stdout, stderr }: Awaited<ReturnType<typeof run>>,
  store: string,
): void {
  expect([status, stdout]).toEqual([1, ''])
  const own = stderr.replaceAll(/Write error: [\w ]+ position \d+, size \d+/g, '')
  expect(own).toMatch(/^hubmirror: [^\n]+\. Make room [^\n]+\.\n$/)
  expect(own).toContain(store)
}

/** The size of a file that lies in the table of a store: nothing of it makes room for a file. */
export const SMALL_BYTES = 40_000

/** A command that could not write to a place has ended with one sentence, which names it, the reason and the cure. */
export function expectFull(result: Awaited<ReturnType<typeof run>>, place: string): void {
  expect(result).toEqual({
    status: 1,
    stdout: '',
    stderr: `hubmirror: ${place}: its disk is full (ENOSPC). Make room there, and run the command again.\n`,
  })
}
