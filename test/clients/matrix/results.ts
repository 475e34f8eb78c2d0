// What a run of the table found: rows of cells, kept in docs/clients.json, from which the page is printed.

import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Column } from './client.ts'

const FILE = fileURLToPath(new URL('../../../docs/clients.json', import.meta.url))

/** What a client did in one column. `word` is beside the mark. The costs are those of the Hub and its CDN. */
export interface Cell {
  readonly passed: boolean
  readonly word?: string
  readonly requests: number
  readonly bytes: number
}

/** What was found of one client that was played. */
export interface Row {
  readonly version: string
  readonly cells: Partial<Record<Column, Cell>>
}

/** Which reader could read, offline, what which client had downloaded: by downloader, then by reader. */
export type Pairs = Readonly<Record<string, Readonly<Record<string, boolean>>>>

/** Rows by the name of the client. */
export interface Results {
  readonly rows: Readonly<Record<string, Row>>
  readonly pairs: Pairs
}

/** The results that the page shows. */
export function readResults(): Results {
  return JSON.parse(readFileSync(FILE, 'utf8')) as Results
}

/** One line for each row, so that a change of one shows. */
export function writeResults({ rows, pairs }: Results): void {
  const lines = (records: Readonly<Record<string, unknown>>) =>
    Object.entries(records)
      .map(([name, value]) => `    ${JSON.stringify(name)}: ${JSON.stringify(value)}`)
      .join(',\n')
  writeFileSync(FILE, `{\n  "rows": {\n${lines(rows)}\n  },\n  "pairs": {\n${lines(pairs)}\n  }\n}\n`)
}

/**
 * What is worse in a row of a run than in the same row on the page, one sentence for each cell that the run has. The costs
 * may differ a little, because clients ask in parallel and some of them ask twice by chance.
 */
export function differences(shown: Row | undefined, found: Row): readonly string[] {
  if (shown === undefined) return ['the page has no such row']
  return (Object.keys(found.cells) as Column[]).flatMap((column) => {
    const [before, after] = [shown.cells[column], found.cells[column]]
    const isAlike =
      before?.passed === after?.passed &&
      before?.word === after?.word &&
      !isMore(before?.requests, after?.requests, 4) &&
      !isMore(before?.bytes, after?.bytes, 100_000)
    return isAlike ? [] : [`${column}: ${JSON.stringify(before)} on the page, ${JSON.stringify(after)} now`]
  })
}

function isMore(shown = 0, found = 0, slack = 0): boolean {
  return found - shown > Math.max(slack, shown / 4)
}
