// The chart of the README: bars for the figures that say most, drawn from a report as an SVG that reads on light and on
// dark paper. Pure.

import type { ContestantName } from './contestants.ts'
import type { Figure, Group, Report } from './report.ts'
import { median } from './statistics.ts'
import { aimText, TITLES, valueText } from './text.ts'

/** Group and figure of each panel, in reading order. What a report does not hold is left out. */
const PANELS = [
  ['warm-1', 'wall'],
  ['warm-1', 'cpu'],
  ['small-get', 'perCore'],
  ['small-head', 'perCore'],
  ['cold-limited', 'wall'],
  ['crowd', 'wall'],
  ['range-middle', 'firstByte'],
  ['ranges-stored', 'perCore'],
  ['snapshot-cold', 'wall'],
  ['slow-readers', 'rss'],
] as const
const SHOWN: readonly ContestantName[] = ['mirror', 'nginx', 'plainFiles', 'olah']

const PANEL = { width: 440, gap: 30 }
const COLUMNS = 2
const LEFT = 140
const ROOM_FOR_VALUE = 90
/** Above the bars: the first line, and each line below it. */
const HEAD = { first: 22, more: 14 }
const BAR = { height: 16, step: 22 }
/** As many characters as fit beside each other in the smaller type. */
const LINE_LENGTH = 70

const STYLE = `
  text { font: 12px system-ui, sans-serif; fill: #24292f }
  .figure { font-weight: 600 }
  .work { font-size: 11px; fill: #57606a }
  .name { text-anchor: end }
  .bar { fill: #afb8c1 }
  .bar.mirror { fill: #0969da }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .work { fill: #9198a1 }
    .bar { fill: #57606a }
    .bar.mirror { fill: #4493f8 }
  }`

/** The chart, a document of its own. */
export function chart(report: Report): string {
  const panels = PANELS.flatMap(([groupId, figureId]) => {
    const group = report.groups.find(({ id }) => id === groupId)
    const figure = group?.figures.find(({ id }) => id === figureId)
    return group === undefined || figure === undefined ? [] : [{ group, figure }]
  })
  const drawn: string[] = []
  let top = 0
  for (let first = 0; first < panels.length; first += COLUMNS) {
    const row = panels.slice(first, first + COLUMNS)
    const headLines = Math.max(...row.map(({ group }) => wrapped(group.title).length))
    const headHeight = HEAD.first + headLines * HEAD.more
    for (const [column, { group, figure }] of row.entries()) {
      drawn.push(panel(group, figure, { left: column * (PANEL.width + PANEL.gap), top, headHeight }))
    }
    const most = Math.max(...row.map(({ group, figure }) => namesIn(group, figure).length))
    top += headHeight + most * BAR.step + PANEL.gap
  }
  const width = COLUMNS * PANEL.width + PANEL.gap
  const height = Math.max(0, top - PANEL.gap)
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-label="Benchmark">`,
    `<style>${STYLE}\n</style>`,
    ...drawn,
    '</svg>',
    '',
  ].join('\n')
}

function panel(
  group: Group,
  figure: Figure,
  place: { readonly left: number; readonly top: number; readonly headHeight: number },
): string {
  const names = namesIn(group, figure)
  const medians = new Map(names.map((name) => [name, median(figure.values[name] ?? [])]))
  const largest = Math.max(...[...medians.values()].filter((value) => !Number.isNaN(value)))
  const room = PANEL.width - LEFT - ROOM_FOR_VALUE
  const lines = [
    `<g transform="translate(${place.left} ${place.top})">`,
    text(0, 14, `${figure.title} (${aimText(figure)})`, 'figure'),
    ...wrapped(group.title).map((line, index) => text(0, 30 + index * HEAD.more, line, 'work')),
  ]
  for (const [index, name] of names.entries()) {
    const barTop = place.headHeight + index * BAR.step
    const baseline = barTop + BAR.height - 4
    const value = medians.get(name) ?? Number.NaN
    lines.push(text(LEFT - 8, baseline, TITLES[name], 'name'))
    if (Number.isNaN(value)) {
      lines.push(text(LEFT, baseline, group.failures[name] ?? 'not measured', 'work'))
      continue
    }
    // What is there is seen, however little it is.
    const width = value === 0 || largest === 0 ? 0 : Math.max(1, (value / largest) * room)
    lines.push(
      `<rect class="bar ${name}" x="${LEFT}" y="${barTop}" width="${width.toFixed(1)}" height="${BAR.height}"/>`,
      text(LEFT + width + 6, baseline, valueText(value, figure.unit)),
    )
  }
  return [...lines, '</g>'].join('\n')
}

function namesIn(group: Group, figure: Figure): readonly ContestantName[] {
  return SHOWN.filter((name) => figure.values[name] !== undefined || group.failures[name] !== undefined)
}

function text(x: number, y: number, words: string, style?: string): string {
  const escaped = words.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
  return `<text x="${Number(x.toFixed(1))}" y="${y}"${style === undefined ? '' : ` class="${style}"`}>${escaped}</text>`
}

/** Broken where a word ends. */
function wrapped(words: string): readonly string[] {
  const lines: string[] = []
  for (const word of words.split(' ')) {
    const last = lines.at(-1)
    if (last === undefined || last.length + word.length >= LINE_LENGTH) lines.push(word)
    else lines[lines.length - 1] = `${last} ${word}`
  }
  return lines
}
