// The report as text: a table on the terminal, and the same as Markdown.

import type { ContestantName } from './contestants.ts'
import {
  type Figure,
  type Goal,
  type Group,
  type Host,
  isHeld,
  type Report,
  ratioToNginx,
  type Unit,
} from './report.ts'
import { median, spread } from './statistics.ts'

export const TITLES: Readonly<Record<ContestantName, string>> = {
  mirror: 'hubmirror',
  ownTls: 'hubmirror, own TLS',
  tlsFront: 'hubmirror behind nginx with TLS',
  sendfile: 'hubmirror, nginx sends',
  otherNode: 'hubmirror, other Node',
  nginx: 'nginx, careful cache',
  plainFiles: 'nginx, plain files',
  olah: 'olah',
  curl: 'curl, straight from the CDN',
}
const NAMES = Object.keys(TITLES) as ContestantName[]

/** `0.512 s`, `12,300/s`, `1.00x`, `87 MiB`. */
export function valueText(value: number, unit: Unit): string {
  const text = numberText(value)
  if (unit === 'x' || unit === '/s') return `${text}${unit}`
  return unit === '' ? text : `${text} ${unit}`
}

/** Three significant digits. */
export function numberText(value: number): string {
  if (Number.isInteger(value) || Math.abs(value) >= 100) return Math.round(value).toLocaleString('en')
  const digits = Math.abs(value) >= 10 ? 1 : Math.abs(value) >= 1 ? 2 : 3
  return value.toFixed(digits)
}

/** The median, and in brackets the smallest and the largest value. */
function cell(figure: Figure, group: Group, name: ContestantName): string {
  const values = figure.values[name]
  if (values === undefined) return group.failures[name] ?? '–'
  const text = valueText(median(values), figure.unit)
  const [least, most] = spread(values).map(numberText)
  return values.length === 1 || least === most ? text : `${text} (${least}–${most})`
}

function ratioText(figure: Figure): string {
  const ratio = ratioToNginx(figure)
  return Number.isFinite(ratio) ? `${numberText(ratio)}x` : ''
}

function goalText(goal: Goal | undefined, unit: Unit): string {
  if (goal === undefined) return ''
  const limit = goal.atMost ?? goal.atLeast ?? Number.NaN
  const sign = goal.atMost === undefined ? '≥' : '≤'
  return `${sign} ${goal.of === 'ratio' ? `${limit}x` : valueText(limit, unit)}`
}

function verdict(figure: Figure): string {
  const held = isHeld(figure)
  if (held === undefined) return ''
  return held ? 'held' : '**missed**'
}

/** `≤ 0.9x held`; empty when there is no goal. */
function goalAndVerdict(figure: Figure): string {
  return [goalText(figure.goal, figure.unit), verdict(figure)].filter((text) => text !== '').join(' ')
}

function namesIn(groups: readonly Group[]): readonly ContestantName[] {
  return NAMES.filter((name) =>
    groups.some(
      (group) => name in group.failures || group.figures.some((figure) => figure.values[name] !== undefined),
    ),
  )
}

function rows(group: Group, names: readonly ContestantName[]): readonly (readonly string[])[] {
  return group.figures.map((figure) => [
    figure.title,
    ...names.map((name) => cell(figure, group, name)),
    ratioText(figure),
    goalAndVerdict(figure),
  ])
}

/** A group for the terminal. */
export function groupLines(group: Group): readonly string[] {
  const names = namesIn([group])
  const head = [group.title, ...names.map((name) => TITLES[name]), 'to nginx', 'goal']
  const lines = [head, ...rows(group, names)]
  const widths = head.map((_, column) => Math.max(...lines.map((line) => (line[column] ?? '').length)))
  return [
    '',
    ...lines.map((line) =>
      line
        .map((text, column) => text.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    ),
  ]
}

/** The whole report in one Markdown table. */
export function markdown(report: Report): string {
  const names = namesIn(report.groups)
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  const blank = names.map(() => '')
  return [
    line(['', ...names.map((name) => TITLES[name]), 'to nginx', 'goal']),
    `|${'---|'.repeat(names.length + 3)}`,
    ...report.groups.flatMap((group) => [
      line([`**${group.title}**`, ...blank, '', '']),
      ...rows(group, names).map(line),
    ]),
  ].join('\n')
}

/** The figures with a goal: the goal, the value, and whether the goal is met. */
export function goalsMarkdown(report: Report): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  const body = report.groups.flatMap((group) =>
    group.figures
      .filter((figure) => figure.goal !== undefined)
      .map((figure) =>
        line([
          `${group.title}: ${figure.title}`,
          cell(figure, group, 'mirror'),
          cell(figure, group, 'nginx'),
          ratioText(figure),
          goalText(figure.goal, figure.unit),
          verdict(figure),
        ]),
      ),
  )
  return [
    line(['', TITLES.mirror, TITLES.nginx, 'to nginx', 'goal', '']),
    `|${'---|'.repeat(6)}`,
    ...body,
  ].join('\n')
}

/** The day, the machine and the versions of a report. */
export function originText(report: Report): string {
  const versions = [...new Set(Object.values(report.versions))].join(', ')
  const run = `Run of ${report.day} (${report.scale}, ${numberText(report.seconds)} s) on ${report.machine}: ${versions}.`
  return report.host === undefined ? run : `${run}\n\n${hostText(report.host)}`
}

/** What the machine charged, in one sentence. */
export function hostText(host: Host): string {
  const ms = (value: number): string => valueText(value, 'ms')
  return [
    `The machine charges ${valueText(host.systemCallUs, 'µs')} for a system call,`,
    `${valueText(host.threadTurnUs, 'µs')} for a turn of the thread pool,`,
    `${ms(host.copyMsPerMib)} for a copy of 1 MiB in memory,`,
    `${ms(host.fileMsPerMib)} for 1 MiB from the page cache (${ms(host.fileThreadMsPerMib)} by the thread pool),`,
    `and ${ms(host.loopbackMsPerMib)} for 1 MiB sent and received over loopback.`,
    `Load ${numberText(host.load)}, ${numberText(host.stolen * 100)}% of the CPU time stolen.`,
  ].join(' ')
}
