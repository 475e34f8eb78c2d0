import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { ConfigFaults } from '../../../src/config/faults.ts'
import { FollowedPins } from '../../../src/config/followed-pins.ts'
import { parsePins } from '../../../src/config/pins-file.ts'

const parse = (text: string) => parsePins(text, 'pins.yaml')
const faultsOf = (text: string): string[] => {
  const read = parse(text)
  return 'faults' in read ? read.faults.map(({ key, where, cure }) => `${where} ${key}: ${cure}`) : []
}

describe('a file of pins', () => {
  it('has repos of all types, with defaults for all but the repo, in the order of their priority', () => {
    const read = parse(`
bandwidth: 20MB
pins:
  - repo: org/model
  - repo: datasets/org/data
    revisions: [main, 'v*']
    include: '*.parquet'
    exclude: ['old/', '*.bin']
    keep: 2
    every: 6h
    priority: 10
`)
    expect(read).toMatchObject({
      file: {
        bandwidth: 20_000_000,
        pins: [
          {
            repo: { type: 'dataset', id: 'org/data' },
            revisions: ['main', 'v*'],
            include: ['*.parquet'],
            exclude: ['old/', '*.bin'],
            keep: 2,
            everyMs: 21_600_000,
            priority: 10,
          },
          {
            repo: { type: 'model', id: 'org/model' },
            revisions: ['main'],
            include: [],
            exclude: [],
            keep: 0,
            everyMs: 3_600_000,
            priority: 0,
            where: 'pins.yaml:4:5',
          },
        ],
      },
    })
  })

  it('may be empty if it says so', () => {
    expect(parse('pins: []')).toEqual({ file: { bandwidth: undefined, pins: [] } })
  })

  it.each([
    [
      '',
      'pins.yaml:1:1 pins: expected a list of pins: each begins with a dash and has a repo, as in "- repo: org/name"; [] is none',
    ],
    ['- repo: org/name', 'pins.yaml:1:1 (top level): expected the key pins, with a list below it'],
    ['pins: []\nbandwith: 1MB', 'pins.yaml:2:11 bandwith: no such key; expected bandwidth, pins'],
    [
      'pins: []\nbandwidth: 1',
      'pins.yaml:2:12 bandwidth: expected a size with a unit such as 200GB or 1GiB; did you mean 1GB?',
    ],
    [
      'pins:\n  - org/name',
      'pins.yaml:2:5 pins.1: expected keys with values: repo, revisions, include, exclude, keep, every, priority',
    ],
    ['pins:\n  - revisions: main', 'pins.yaml:2:5 pins.1.repo: expected a repo, such as org/name'],
    [
      'pins:\n  - {repo: gpt2, revision: main}',
      'pins.yaml:2:18 pins.1.revision: no such key; did you mean revisions?',
    ],
    [
      'pins:\n  - {repo: gpt2, keep: -1}',
      'pins.yaml:2:24 pins.1.keep: expected a whole number from 0 to 100',
    ],
    ['pins:\n  - {repo: gpt2, every: 5s}', 'pins.yaml:2:25 pins.1.every: expected at least 60000ms'],
    [
      'pins:\n  - {repo: gpt2, revisions: [main, v1]}\n  - {repo: model/gpt2}',
      'pins.yaml:3:5 pins.repo: this revision of the repo is pinned at pins.yaml:2:5 already, with the same patterns; remove one of them',
    ],
  ])('with a fault is refused with its line and the cure: %j', (text, fault) => {
    expect(faultsOf(text)).toContain(fault)
  })

  it('with several faults names all of them', () => {
    expect(faultsOf('pins:\n  - {repo: a//b}\n  - {repo: gpt2, include: [*.bin]}')).toHaveLength(2)
  })
})

describe('a followed file of pins', () => {
  it('is read when it changes, and reports a fault that stays, once', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'hubmirror-pins-'))
    onTestFinished(() => rm(folder, { recursive: true }))
    const path = join(folder, 'pins.yaml')
    const put = async (text: string) => {
      await writeFile(`${path}.new`, text)
      await rename(`${path}.new`, path)
    }
    const faults: ConfigFaults[] = []
    let changes = 0
    await put('pins: [{repo: gpt2}]')
    const followed = new FollowedPins({
      path,
      onChange: () => (changes += 1),
      onFault: (fault) => void faults.push(fault),
    })
    const count = () => followed.current.pins.length
    followed.check()
    expect([count(), changes]).toEqual([1, 0])
    await put('pins: [{repo')
    followed.check()
    expect([count(), faults.length, followed.isFaulty]).toEqual([1, 0, false])
    followed.check()
    followed.check()
    expect([count(), faults.length, followed.isFaulty]).toEqual([1, 1, true])
    await rm(path)
    followed.check()
    followed.check()
    expect([count(), faults.length]).toEqual([1, 2])
    await put('pins: []')
    followed.check()
    expect([count(), changes, followed.isFaulty]).toEqual([0, 1, false])
  })
})
