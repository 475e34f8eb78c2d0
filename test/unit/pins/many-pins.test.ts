// What pins keep, with many of them: the work for one more does not grow with those that are there.

import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished, vi } from 'vitest'
import type { Pin } from '../../../src/config/pins-file.ts'
import { Pins } from '../../../src/pins/pins.ts'
import type { BlobKey } from '../../../src/store/digest.ts'
import { readPinnedCommits } from '../../../src/store/pinned-commits.ts'
import { createLogger } from '../../../src/telemetry/log.ts'
import { eventually } from '../../support/eventually.ts'

const keyOf = (number: number): BlobKey => `sha256:${number.toString(16).padStart(64, '0')}`
const commitOf = (number: number): string => number.toString(16).padStart(40, '0')

/** Pins without a mirror; `stored` are the blobs that its store has. */
async function open(text: string, settings: { cacheMaxSizeBytes?: number | undefined } = {}) {
  const cacheDir = await mkdtemp(join(tmpdir(), 'hubmirror-many-pins-'))
  const path = join(cacheDir, 'pins.yaml')
  await writeFile(path, text)
  const stored = new Set<string>()
  const kept = { whole: 0, more: 0 }
  let given: ReadonlySet<BlobKey> | undefined
  const logger = createLogger({ level: 'silent', destination: { write() {} } })
  const pins = await Pins.of(
    { pins: path, cacheDir, offline: false },
    { settings, logger, observer: { pinsChanged() {} }, now: Date.now, monotonic: () => performance.now() },
  )
  if (pins === undefined) throw new Error('there are no pins')
  onTestFinished(async () => {
    await pins.close()
    await rm(cacheDir, { recursive: true, force: true })
  })
  pins.attach({
    keep: (keys) => {
      kept.whole += 1
      given = keys
    },
    keepAlso: () => void (kept.more += 1),
    ledger: { has: (name) => stored.has(name) },
  })
  const list = async (index: number, sizes: Readonly<Record<number, number>>, commit = 1): Promise<void> => {
    const pin = pins.file.pins[index]
    if (pin === undefined) throw new Error('there is no such pin')
    const files = Object.entries(sizes).map(([key, sizeBytes]) => ({ key: keyOf(Number(key)), sizeBytes }))
    await pins.listed(pin, { revision: 'main', commit: commitOf(commit), files })
    pins.ended(pin, undefined, { mayRetry: false })
  }
  return { pins, kept, given: () => given, stored, settings, cacheDir, list }
}

it('a commit of one more pin is kept without a look at those of all others, and is noted in the end', async () => {
  const count = 1_500
  const repos = Array.from({ length: count }, (_, index) => `  - repo: acme/model-${index}\n`)
  const { pins, kept, cacheDir, list } = await open(`pins:\n${repos.join('')}`)
  const parse = vi.spyOn(JSON, 'parse')
  onTestFinished(() => parse.mockRestore())
  for (let index = 0; index < count; index += 1) {
    expect(pins.next()).toMatchObject({ pin: { repo: { id: `acme/model-${index}` } }, inMs: 0 })
    await list(index, { [2 * index]: 10, [2 * index + 1]: 10 })
  }
  expect([pins.keys.size, kept, parse.mock.calls.length]).toEqual([2 * count, { whole: 0, more: count }, 0])
  await pins.close()
  expect(await readPinnedCommits(cacheDir)).toMatchObject({ size: count })
})

it('files that a moved revision has left are free, and those of a higher priority come first', async () => {
  const settings = { cacheMaxSizeBytes: 1_000 }
  const { pins, list } = await open(
    'pins:\n  - repo: acme/low\n  - {repo: acme/high, priority: 1}\n',
    settings,
  )
  await list(1, { 1: 500 })
  expect([...pins.keys]).toEqual([keyOf(1)])
  await list(1, { 2: 600 }, 2)
  expect([...pins.keys]).toEqual([keyOf(2)])
  // The pins of the file are in the order of their priority.
  await list(0, { 3: 500 })
  expect([...pins.keys]).toEqual([keyOf(3)])
  expect(pins.report().pins.map(({ reason }) => reason)).toEqual(['waiting', 'no-space'])
})

it('a pin that has room after the limit was raised is due at once', async () => {
  const { pins, list, settings } = await open('pins:\n  - repo: acme/one\n  - repo: acme/two\n', {
    cacheMaxSizeBytes: 1_000,
  })
  await list(0, { 1: 600 })
  await list(1, { 2: 600 })
  expect([pins.keys.size, pins.next()?.inMs === 0]).toEqual([1, false])
  settings.cacheMaxSizeBytes = 2_000
  pins.check()
  expect([pins.keys.size, pins.next()]).toMatchObject([2, { pin: { repo: { id: 'acme/two' } }, inMs: 0 }])
})

it('a pin that gets room while a run for it is under way is due as soon as that run has ended', async () => {
  const { pins, list, settings, stored } = await open('pins:\n  - repo: acme/one\n  - repo: acme/two\n', {
    cacheMaxSizeBytes: 1_000,
  })
  await list(0, { 1: 600 })
  const second = pins.file.pins[1] as Pin
  const end = () => pins.ended(second, { reason: 'no-space', message: 'no room' }, { mayRetry: true })
  await pins.listed(second, {
    revision: 'main',
    commit: commitOf(1),
    files: [{ key: keyOf(2), sizeBytes: 600 }],
  })
  settings.cacheMaxSizeBytes = 2_000
  pins.check()
  end()
  expect(pins.next()).toMatchObject({ pin: { repo: { id: 'acme/two' } }, inMs: 0 })
  // Once: a run that began with this room and failed all the same waits like every other.
  end()
  expect(pins.next()?.inMs).toBeGreaterThan(0)
  // Nor is there anything to do for a run that has fetched the files.
  settings.cacheMaxSizeBytes = 1_000
  pins.check()
  settings.cacheMaxSizeBytes = 2_000
  pins.check()
  stored.add(keyOf(2))
  end()
  expect(pins.next()?.inMs).toBeGreaterThan(0)
})

it('the store has the set to which the files of a new commit are added, also after a look that changed nothing', async () => {
  const settings: { cacheMaxSizeBytes?: number } = { cacheMaxSizeBytes: 1_000 }
  const { pins, given, list } = await open('pins:\n  - repo: acme/one\n  - repo: acme/two\n', settings)
  await list(0, { 1: 10 })
  settings.cacheMaxSizeBytes = 2_000
  pins.check()
  await list(1, { 2: 10 })
  expect([...(given() ?? [])]).toEqual([keyOf(1), keyOf(2)])
})

/** Lets no note be written to the disk until the returned function is called. */
async function refuseNotes(cacheDir: string): Promise<() => Promise<void>> {
  const place = join(cacheDir, 'pins.json')
  await rm(place, { force: true })
  await mkdir(join(place, 'in-the-way'), { recursive: true })
  return () => rm(place, { recursive: true })
}

it('a look at the same commit writes what could not be written before, or fails again', async () => {
  const { cacheDir, list } = await open('pins:\n  - repo: acme/one\n')
  const allow = await refuseNotes(cacheDir)
  const look = () => list(0, { 1: 10 })
  await expect(look()).rejects.toMatchObject({ syscall: 'rename' })
  await expect(look()).rejects.toMatchObject({ syscall: 'rename' })
  await allow()
  await look()
  expect(await readPinnedCommits(cacheDir)).toMatchObject({ size: 1 })
})

it('what could not be written is tried once more when the mirror stops', async () => {
  const { pins, cacheDir, list } = await open('pins:\n  - repo: acme/one\n')
  const allow = await refuseNotes(cacheDir)
  await expect(list(0, { 1: 10 })).rejects.toMatchObject({ syscall: 'rename' })
  await allow()
  await pins.close()
  expect(await readPinnedCommits(cacheDir)).toMatchObject({ size: 1 })
})

it('a note that was put off and could not be written is written later, without a look at the Hub', async () => {
  const { pins, cacheDir, list } = await open('pins:\n  - repo: acme/one\n  - repo: acme/two\n')
  const many = Object.fromEntries(Array.from({ length: 1_500 }, (_, index) => [index, 10]))
  await list(0, many)
  const allow = await refuseNotes(cacheDir)
  // Where the first note was written fast, the time to put off the second one may be over.
  await list(1, { 2_000: 10 }).catch(() => undefined)
  // It is not put off any longer.
  await pins.close()
  await allow()
  await eventually(
    () => {
      pins.check()
      return readPinnedCommits(cacheDir)
    },
    (noted) => noted !== 'damaged' && noted.size === 2,
    20_000,
  )
})
