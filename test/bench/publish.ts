// What is published of two reports, that of all work and that of growth: the chart of the README, and the tables of
// docs/performance.md. Made anew by `npm run bench:publish` from docs/benchmark*.json, without a run.

import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { chart } from './chart.ts'
import type { Report } from './report.ts'
import { goalsMarkdown, markdown, originText } from './text.ts'

const DOCS = new URL('../../docs/', import.meta.url)
const REPORT = new URL('benchmark.json', DOCS)
const GROWTH = new URL('benchmark-growth.json', DOCS)
const CHART = new URL('benchmark.svg', DOCS)
const PAGE = new URL('performance.md', DOCS)

/** What each file holds, by its URL: as it must be for the report, beside as it is. */
export function published(): readonly { readonly file: URL; readonly right: string; readonly is: string }[] {
  const [report, growth] = [reportIn(REPORT), reportIn(GROWTH)]
  const page = readFileSync(PAGE, 'utf8')
  return [
    { file: CHART, right: chart(report), is: readIfThere(CHART) },
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
