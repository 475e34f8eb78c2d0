import { expect, it, onTestFinished, vi } from 'vitest'
import { parsePins, pinId } from '../../../src/config/pins-file.ts'
import { byPin, claim, revisionsOf, stillPinned } from '../../../src/pins/claims.ts'

it('pins claim what fits into the store beside the facts, those of a higher priority first', () => {
  const read = parsePins(
    'pins:\n  - repo: acme/low\n  - repo: acme/high\n    priority: 1\n  - repo: acme/small\n',
    'pins.yaml',
  )
  if ('faults' in read) throw new Error('the file is wrong')
  const sizes: Readonly<Record<string, number>> = { 'acme/high': 60, 'acme/low': 40, 'acme/small': 35 }
  const keyOf = (sizeBytes: number) => `sha256:${String(sizeBytes).padStart(64, '0')}` as const
  const pinned = new Map(
    read.file.pins.map((pin) => {
      const sizeBytes = sizes[pin.repo.id] ?? 0
      const files = [{ key: keyOf(sizeBytes), sizeBytes }]
      return [pinId(pin, 'main'), [{ commit: 'a'.repeat(40), seenAt: 0, files }]]
    }),
  )
  expect(claim(read.file, byPin(pinned), 100)).toEqual({
    keys: new Set([keyOf(60), keyOf(35)]),
    sizeBytes: 95,
  })
  expect(claim(read.file, byPin(pinned), undefined).sizeBytes).toBe(135)
  expect(claim(read.file, byPin(pinned), 60).sizeBytes).toBe(40)
})

it('a pin finds the commits of its own revisions, by name, among those of other pins and patterns', () => {
  const read = parsePins(
    `pins:
  - {repo: acme/one, revisions: [main, 'v*'], keep: 1}
  - {repo: acme/one, revisions: [main], include: '*.json'}
  - {repo: acme/two, revisions: [dev]}
`,
    'pins.yaml',
  )
  if ('faults' in read) throw new Error('the file is wrong')
  const [one, some, two] = read.file.pins
  if (one === undefined || some === undefined || two === undefined) throw new Error('a pin is missing')
  const commits = ['a', 'b', 'c'].map((digit) => ({ commit: digit.repeat(40), seenAt: 0, files: [] }))
  const pinned = new Map([
    [pinId(one, 'v2'), commits],
    [pinId(one, 'main'), commits],
    // No pin means this branch.
    [pinId(one, 'dev'), commits],
    [pinId(some, 'main'), commits],
    [pinId(two, 'main'), commits],
    ['no pin', commits],
    ['[1]', commits],
  ])
  const known = byPin(pinned)
  const found = (pin: typeof one) =>
    revisionsOf(pin, known).map(({ revision, commits: kept }) => [revision, kept.length])
  expect([one, some, two].map(found)).toEqual([
    [
      ['main', 2],
      ['v2', 2],
    ],
    [['main', 1]],
    [],
  ])
  expect([...stillPinned(read.file, known).keys()]).toEqual([
    pinId(one, 'main'),
    pinId(one, 'v2'),
    pinId(some, 'main'),
  ])
})

it('each known revision is read once, however many pins there are', () => {
  const text = Array.from({ length: 200 }, (_, index) => `  - repo: acme/model-${index}\n`).join('')
  const read = parsePins(`pins:\n${text}`, 'pins.yaml')
  if ('faults' in read) throw new Error('the file is wrong')
  const commits = [{ commit: 'a'.repeat(40), seenAt: 0, files: [] }]
  const pinned = new Map(read.file.pins.map((pin) => [pinId(pin, 'main'), commits]))
  const parse = vi.spyOn(JSON, 'parse')
  onTestFinished(() => parse.mockRestore())
  claim(read.file, byPin(pinned), undefined)
  expect(parse).toHaveBeenCalledTimes(200)
})
