// How often, and in which slices, a running mirror reads the list of its tokens: an anonymous caller costs at most one check.

import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, expect, it, onTestFinished, vi } from 'vitest'
import { TokenFile } from '../../src/callers/token-file.ts'
import { findToken, formatTokenList, tokenHash } from '../../src/callers/token-list.ts'
import { manualClock } from '../support/clock.ts'

const calls = vi.hoisted(() => ({ reads: 0, stats: 0 }))
vi.mock(import('node:fs/promises'), async (original) => {
  const real = await original()
  return {
    ...real,
    readFile: ((...given: Parameters<typeof real.readFile>) => {
      calls.reads += 1
      return real.readFile(...given)
    }) as typeof real.readFile,
    stat: ((...given: Parameters<typeof real.stat>) => {
      calls.stats += 1
      return real.stat(...given)
    }) as typeof real.stat,
  }
})

beforeEach(() => {
  calls.reads = 0
  calls.stats = 0
})

const entry = (name: string) => ({ name, sha256: tokenHash(name), createdAt: 1_000 })

async function setUp(text: string) {
  const folder = await mkdtemp(join(tmpdir(), 'hubmirror-token-reads-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  const path = join(folder, 'tokens.json')
  await writeFile(path, text, { mode: 0o600 })
  const clock = manualClock()
  const troubles: string[] = []
  const file = new TokenFile({ path, monotonic: clock.now, onTrouble: (reason) => troubles.push(reason) })
  const anonymousCallers = (count = 60) =>
    Promise.all(Array.from({ length: count }, () => file.refresh(true)))
  return { path, clock, file, troubles, anonymousCallers }
}

it('one running check and one pending check serve any number of anonymous callers', async () => {
  const { file, anonymousCallers } = await setUp(formatTokenList([entry('a')]))
  await anonymousCallers()
  expect(file.list()).toHaveLength(1)
  expect(calls).toEqual({ reads: 1, stats: 2 })
})

it('a broken list is read once for all anonymous callers, and again after a while or after a change', async () => {
  const { path, clock, file, troubles, anonymousCallers } = await setUp('{"version":1,')
  for (let round = 0; round < 5; round += 1) await anonymousCallers()
  expect(calls.reads).toBe(1)
  clock.advance(9_999)
  await anonymousCallers()
  expect(calls.reads).toBe(1)
  clock.advance(1)
  await anonymousCallers()
  expect(calls.reads).toBe(2)
  // A file that another process is writing changes all the time.
  for (const text of ['{"version":1,"t', '{"version":1,"to', '{"version":1,"tok']) {
    await writeFile(path, text)
    await anonymousCallers()
  }
  expect(calls.reads).toBe(2)
  await writeFile(path, formatTokenList([entry('a')]))
  clock.advance(1_000)
  await anonymousCallers()
  expect([file.list().length, calls.reads, troubles]).toEqual([1, 3, ['it is not valid JSON']])
})

it('a token that was issued during a check is found', async () => {
  const { path, file } = await setUp(formatTokenList([entry('a')]))
  const first = file.refresh(true)
  await writeFile(path, formatTokenList([entry('a'), entry('b')]))
  await Promise.all([first, file.refresh(true)])
  expect(file.list().map(({ name }) => name)).toEqual(['a', 'b'])
})

it('a list of a hundred thousand tokens is read without blocking the thread, and each is found by its digest', async () => {
  const names = Array.from({ length: 100_000 }, (_, index) => `ci-job-${index}`)
  const { file, troubles } = await setUp(formatTokenList(names.map(entry)))
  let turns = 0
  let isOver = false
  const count = (): void => {
    turns += 1
    if (!isOver) setImmediate(count)
  }
  setImmediate(count)
  await file.refresh()
  isOver = true
  expect([file.list().length, troubles]).toEqual([100_000, []])
  expect(turns).toBeGreaterThan(500)
  expect(findToken(file.list(), 'ci-job-77777')?.name).toBe('ci-job-77777')
  expect(findToken(file.list(), 'ci-job-100000')).toBeUndefined()
})
