// The published parts of two reports, that of all work and that of growth: the charts of the README, and the tables of
// docs/performance.md. `npm run bench:publish` makes them again from docs/benchmark*.json, without a run.

import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { chart } from './chart.ts'
import type { Report } from './report.ts'
import { goalsMarkdown, markdown, originText } from './text.ts'

const DOCS = new URL('../../docs/', import.meta.url)
const REPORT = new URL('benchmark.json', DOCS)
const GROWTH = new URL('benchmark-growth.json', DOCS)
const CHARTS = { light: new URL('benchmark.svg', DOCS), dark: new URL('benchmark-dark.svg', DOCS) } as const
const PAGE = new URL('performance.md', DOCS)

/** Each published file by its URL: the text it must have for the reports, and the text it has. */
export function published(): readonly { readonly file: URL; readonly right: string; readonly is: string }[] {
  const [report, growth] = [reportIn(REPORT), reportIn(GROWTH)]
  const page = readFileSync(PAGE, 'utf8')
  return [
    { file: CHARTS.light, right: chart(report, 'light'), is: readIfThere(CHARTS.light) },
    { file: CHARTS.dark, right: chart(report, 'dark'), is: readIfThere(CHARTS.dark) },
    { file: PAGE, right: filledIn(page, report, growth), is: page },
  ]
}

function reportIn(file: URL): Report {
  return JSON.parse(readFileSync(file, 'utf8')) as Report
}

function filledIn(page: string, report: Report, growth: Report): string {
  const parts = {
    origin: originText(report),
    goals: goalsMarkdown(report),
    'growth-origin': originText(growth),
    'growth-goals': goalsMarkdown(growth),
    growth: markdown(growth),
    figures: markdown(report),
  }
  let text = page
  for (const [name, part] of Object.entries(parts)) {
    const [begin, end] = [`<!-- ${name}:begin -->`, `<!-- ${name}:end -->`]
    const [from, to] = [text.indexOf(begin), text.indexOf(end)]
    if (from < 0 || to < from) throw new Error(`docs/performance.md lacks the marks of ${name}`)
    text = `${text.slice(0, from + begin.length)}\n${part}\n${text.slice(to)}`
  }
  return text
}

function readIfThere(file: URL): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const { file, right } of published()) writeFileSync(file, right)
}
