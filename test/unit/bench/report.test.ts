import { expect, it } from 'vitest'
import { measureHost } from '../../bench/host.ts'
import { type Figure, type Group, isHeld, type Report, ratioToNginx, reportText } from '../../bench/report.ts'
import { Reporter } from '../../bench/reporter.ts'
import {
  goalsMarkdown,
  groupLines,
  hostText,
  markdown,
  numberText,
  originText,
  valueText,
} from '../../bench/text.ts'

const figure = (values: Figure['values'], goal?: Figure['goal']): Figure => ({
  id: 'wall',
  title: 'wall time',
  unit: 's',
  better: 'less',
  values,
  ...(goal === undefined ? {} : { goal }),
})
const report = (group: Group): Report => ({
  day: '2026-01-01',
  seconds: 60,
  scale: 'full',
  machine: 'two',
  versions: {},
  groups: [group],
})

it('a ratio is that of the medians', () => {
  expect(ratioToNginx(figure({ mirror: [1, 2, 90], nginx: [8, 4, 4] }))).toBe(0.5)
})

it.each([
  [{ of: 'ratio', atMost: 0.5 }, true],
  [{ of: 'ratio', atMost: 0.49 }, false],
  [{ of: 'ratio', atLeast: 0.5 }, true],
  [{ of: 'ratio', atLeast: 0.51 }, false],
  [{ of: 'value', atMost: 2 }, true],
  [{ of: 'value', atMost: 1.9 }, false],
] as const)('a goal of %j is met: %s', (goal, held) => {
  expect(isHeld(figure({ mirror: [2], nginx: [4] }, goal))).toBe(held)
})

it('a goal without a measurement is neither met nor missed', () => {
  expect(isHeld(figure({ mirror: [2] }, { of: 'ratio', atMost: 1 }))).toBeUndefined()
  expect(isHeld(figure({ mirror: [2], nginx: [1] }))).toBeUndefined()
})

it('a cell has the median and the spread, or the reason why the contestant has none', () => {
  const lines: string[] = []
  const reporter = new Reporter({
    group: (group) => lines.push(...groupLines(group)),
    complaint: (line) => lines.push(line),
  })
  const group = reporter.group('warm', 'warm file', {
    wall: { title: 'wall time', unit: 's', better: 'less' },
  })
  for (const wall of [3, 1, 2]) group.add('mirror', { wall })
  group.add('nginx', { wall: 4 })
  group.fail('olah', 'not done within 60 s')
  group.close()
  expect(lines.at(-1)).toMatch(/^wall time +2 s \(1–3\) +4 s +not done within 60 s +0\.500x$/)
  expect(reporter.complaints).toEqual(['warm file: olah: not done within 60 s'])
  expect(markdown(report(reporter.groups[0] as Group))).toContain(
    '| wall time | 2 s (1–3) | 4 s | not done within 60 s | 0.500x |  |',
  )
})

it('a missed goal is named', () => {
  const group: Group = {
    id: 'warm',
    title: 'warm file',
    figures: [figure({ mirror: [2], nginx: [4] }, { of: 'ratio', atMost: 0.4 }), figure({ mirror: [2] })],
    failures: {},
  }
  expect(groupLines(group).join('\n')).toContain('≤ 0.4x **missed**')
  const goals = goalsMarkdown(report(group)).split('\n')
  expect(goals).toHaveLength(3)
  expect(goals[2]).toBe('| warm file: wall time | 2 s | 4 s | 0.500x | ≤ 0.4x | **missed** |')
})

it('numbers have the digits that count', () => {
  expect([0.01234, 1.234, 12.34, 123.4, 12_345.6, 3, 0].map(numberText)).toEqual([
    '0.012',
    '1.23',
    '12.3',
    '123',
    '12,346',
    '3',
    '0',
  ])
  expect([valueText(1.5, 'x'), valueText(2000, '/s'), valueText(3, 'MiB'), valueText(4, '')]).toEqual([
    '1.50x',
    '2,000/s',
    '3 MiB',
    '4',
  ])
})

it('a report is stored with four digits, the values of a contestant on one line, and is read back unchanged', () => {
  const kept = report({
    id: 'a',
    title: 'b',
    failures: {},
    figures: [figure({ mirror: [1.234_56, 20_000, 1e-7] })],
  })
  const text = reportText(kept)
  expect(text).toContain('"mirror": [1.235, 20000, 1e-7]')
  expect(JSON.parse(text)).toEqual({
    ...kept,
    groups: [{ ...kept.groups[0], figures: [figure({ mirror: [1.235, 20_000, 1e-7] })] }],
  })
})

it('a report says what its machine charges, if that was measured', async () => {
  const host = await measureHost()
  const { load, stolen, ...prices } = host
  for (const price of Object.values(prices)) expect(price).toBeGreaterThan(0)
  expect([load >= 0, stolen >= 0, stolen <= 1]).toEqual([true, true, true])
  const plain = report({ id: 'a', title: 'a', figures: [], failures: {} })
  expect(originText({ ...plain, host })).toBe(`${originText(plain)}\n\n${hostText(host)}`)
  expect(hostText({ ...host, systemCallUs: 0.25, threadTurnUs: 20, stolen: 0.02 })).toMatch(
    /^The machine charges 0\.250 µs for a system call, 20 µs for a turn of the thread pool, .* 2% of the CPU time stolen\.$/,
  )
})
