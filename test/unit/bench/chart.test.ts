import { expect, it } from 'vitest'
import { chart } from '../../bench/chart.ts'
import { published } from '../../bench/publish.ts'
import type { Figure, Report } from '../../bench/report.ts'

function report(figure: Partial<Figure>, failures = {}): Report {
  const wall: Figure = { id: 'wall', title: 'wall time', unit: 's', better: 'less', values: {}, ...figure }
  const group = { id: 'warm-1', title: 'a stored file', figures: [wall], failures }
  return { day: '2026-01-01', seconds: 60, scale: 'full', machine: 'two', versions: {}, groups: [group] }
}

function widths(svg: string): Record<string, number> {
  const bars = svg.matchAll(/<rect class="bar (\w+)" [^>]*width="([\d.]+)"/g)
  return Object.fromEntries([...bars].map(([, name, width]) => [name, Number(width)]))
}

it('bars are as long as the medians are large', () => {
  const found = widths(chart(report({ values: { mirror: [1, 9, 2], nginx: [8], olah: [4] } })))
  expect(found['nginx']).toBeGreaterThan(100)
  expect((found['nginx'] ?? 0) / (found['mirror'] ?? 0)).toBeCloseTo(4, 1)
  expect((found['nginx'] ?? 0) / (found['olah'] ?? 0)).toBeCloseTo(2, 1)
})

it('each bar has its name and its value beside it', () => {
  const svg = chart(report({ values: { mirror: [0.5], nginx: [2] } }))
  for (const words of [
    'hubmirror',
    '0.500 s',
    'nginx, careful cache',
    '2 s',
    'wall time (less is better)',
    'a stored file',
  ])
    expect(svg).toContain(`>${words}</text>`)
})

it('says of a goal whether it is held', () => {
  const values = { mirror: [0.5], nginx: [2] }
  const aim = (atMost: number) => chart(report({ values, goal: { of: 'ratio', atMost } }))
  expect(aim(0.3)).toContain('>wall time (less is better, goal ≤ 0.3x of nginx: held)<')
  expect(aim(0.2)).toContain('>wall time (less is better, goal ≤ 0.2x of nginx: missed)<')
})

it('a contestant that could not do it has the reason instead of a bar', () => {
  const svg = chart(report({ values: { mirror: [1] } }, { olah: 'ends with <500> & more' }))
  expect(svg).toContain('>ends with &lt;500&gt; &amp; more</text>')
  expect(Object.keys(widths(svg))).toEqual(['mirror'])
})

it('nothing is a bar of no width, and little is seen beside much', () => {
  const found = widths(chart(report({ values: { mirror: [0], nginx: [0.001], olah: [1000] } })))
  expect([found['mirror'], found['nginx']]).toEqual([0, 1])
})

it('long words are broken, none is lost, and all stays within the paper', () => {
  const title = Array.from({ length: 20 }, (_, index) => `word${index}`).join(' ')
  const one = report({ values: { mirror: [1], nginx: [1] } })
  const svg = chart({ ...one, groups: one.groups.map((group) => ({ ...group, title })) })
  const lines = [...svg.matchAll(/class="work">([^<]*)</g)].map(([, line]) => line)
  expect(lines.length).toBeGreaterThan(1)
  expect(lines.join(' ')).toBe(title)
  const height = Number(/viewBox="0 0 \d+ (\d+)"/.exec(svg)?.[1])
  const bottoms = [...svg.matchAll(/<rect [^>]*y="(\d+)"[^>]*height="(\d+)"/g)].map(
    ([, y, size]) => Number(y) + Number(size),
  )
  expect(Math.max(...bottoms)).toBeLessThanOrEqual(height)
})

it('has colours for light and for dark paper', () => {
  const svg = chart(report({ values: { mirror: [1] } }))
  expect(svg).toMatch(/prefers-color-scheme: dark\) \{[^]*\.bar\.mirror \{ fill/)
})

it('what is published is what docs/benchmark.json says: npm run bench:publish', () => {
  for (const { file, right, is } of published()) expect(is, file.pathname).toBe(right)
})
