import { describe, expect, it } from 'vitest'
import { chart, THEMES } from '../../bench/chart.ts'
import { published } from '../../bench/publish.ts'
import type { Figure, Report } from '../../bench/report.ts'

function report(figure: Partial<Figure>, failures = {}, title = 'a stored file'): Report {
  const wall: Figure = { id: 'wall', title: 'wall time', unit: 's', better: 'less', values: {}, ...figure }
  const group = { id: 'warm-1', title, figures: [wall], failures }
  return { day: '2026-01-01', seconds: 60, scale: 'full', machine: 'two', versions: {}, groups: [group] }
}

/** The lengths of the bars with one of these colours, from top to bottom. */
function lengths(svg: string, ...colours: readonly string[]): readonly number[] {
  const bars = [...svg.matchAll(/<path d="M[\d.]+ [\d.]+l([\d.]+) 0[^"]*" fill="(#\w+)"/g)]
  return bars.filter(([, , colour]) => colours.includes(colour ?? '')).map(([, length]) => Number(length))
}

/** Every text of the chart, in the order in which the file has them. */
function texts(svg: string): readonly string[] {
  return [...svg.matchAll(/<text [^>]*>([^<]*)<\/text>/g)].map(([, text]) => text ?? '')
}

const { mirror: ours, other: theirs } = THEMES.light

describe('a bar', () => {
  it('is as long as its median is large', () => {
    const svg = chart(report({ values: { mirror: [1, 9, 2], nginx: [8], olah: [4] } }), 'light')
    const [mirror = 0] = lengths(svg, ours)
    const [nginx = 0, olah = 0] = lengths(svg, theirs)
    expect(nginx).toBeGreaterThan(100)
    expect(nginx / mirror).toBeCloseTo(4, 1)
    expect(nginx / olah).toBeCloseTo(2, 1)
  })

  it('has its name and its value beside it', () => {
    const svg = chart(report({ values: { mirror: [0.5], nginx: [2] } }), 'light')
    expect(texts(svg)).toEqual(
      expect.arrayContaining(['hubmirror', '0.500 s', 'nginx cache', '2 s', 'a stored file']),
    )
  })

  it('is visible however small its value is beside the largest', () => {
    const svg = chart(report({ values: { mirror: [0.001], nginx: [1000] } }), 'light')
    expect(lengths(svg, ours)).toEqual([1])
  })

  it('is missing where a contestant failed, and the reason stands in its place', () => {
    const svg = chart(report({ values: { mirror: [1] } }, { olah: 'ends with <500> & more' }), 'light')
    expect(texts(svg)).toContain('ends with &lt;500&gt; &amp; more')
    expect(lengths(svg, ours, theirs)).toHaveLength(1)
  })
})

describe('the line below a title', () => {
  const line = (better: Figure['better'], mirror: number, nginx: number) =>
    texts(chart(report({ better, values: { mirror: [mirror], nginx: [nginx] } }), 'light')).find((text) =>
      text.startsWith('wall time'),
    )

  it('says how much better the mirror is, for times and for rates', () => {
    expect(line('less', 1, 3)).toBe('wall time: 3x better than the nginx cache')
    expect(line('more', 3, 1)).toBe('wall time: 3x better than the nginx cache')
  })

  it('says how much worse the mirror is, for times and for rates', () => {
    expect(line('less', 3, 1)).toBe('wall time: 3x worse than the nginx cache')
    expect(line('more', 1, 3)).toBe('wall time: 3x worse than the nginx cache')
  })

  it('says which values are good where there is no ratio', () => {
    expect(texts(chart(report({ values: { mirror: [1] } }), 'light'))).toContain('wall time, less is better')
  })
})

describe('the chart', () => {
  it('breaks a long title, loses no word of it, and keeps everything inside its frame', () => {
    const words = Array.from({ length: 20 }, (_, index) => `word${index}`)
    const svg = chart(report({ values: { mirror: [1], nginx: [1] } }, {}, words.join(' ')), 'light')
    const lines = texts(svg).filter((text) => text.startsWith('word'))
    expect(lines.length).toBeGreaterThan(1)
    expect(lines.join(' ').split(' ')).toEqual(words)
    const height = Number(/viewBox="0 0 \d+ (\d+)"/.exec(svg)?.[1])
    const bottoms = [...svg.matchAll(/<path d="M[\d.]+ ([\d.]+)l[\d.]+ 0l0 ([\d.]+)/g)].map(
      ([, y, size]) => Number(y) + Number(size),
    )
    expect(Math.max(...bottoms)).toBeLessThanOrEqual(height)
  })

  it('has other colours on dark pages', () => {
    const one = report({ values: { mirror: [1], nginx: [2] } })
    const { mirror, other } = THEMES.dark
    expect(lengths(chart(one, 'dark'), mirror, other)).toEqual(lengths(chart(one, 'light'), ours, theirs))
  })

  it('is the same text each time it is made', () => {
    const one = report({ values: { mirror: [1], nginx: [2] } })
    expect(chart(one, 'light')).toBe(chart(one, 'light'))
  })

  it('is published as docs/benchmark.json says: npm run bench:publish', () => {
    for (const { file, right, is } of published()) expect(is, file.pathname).toBe(right)
  })
})
