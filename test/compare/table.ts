// The behaviour table: plays every situation with every contestant, and writes what happened as Markdown.

import { CONTESTANTS, type ContestantName } from './contestants.ts'
import { CHAPTERS } from './situations.ts'
import { openStage } from './stage.ts'

/** A row of the table. */
export interface Row {
  readonly chapter: string
  readonly title: string
  readonly cells: Readonly<Record<ContestantName, string>>
}

const TITLES: Readonly<Record<ContestantName, string>> = {
  'pass-through': '`pass-through.conf`',
  'naive-cache': '`naive-cache.conf`',
  careful: '`careful.conf`',
  mirror: 'hubmirror',
}

/** Plays all of it, one contestant after the other, each in front of a Hub of its own. */
export async function playAll(report: (line: string) => void = () => {}): Promise<readonly Row[]> {
  const columns = new Map<ContestantName, readonly string[]>()
  for (const name of CONTESTANTS) columns.set(name, await playContestant(name, report))
  const titles = CHAPTERS.flatMap(({ title, situations }) =>
    situations.map((situation) => ({ chapter: title, title: situation.title })),
  )
  return titles.map((title, index) => ({
    ...title,
    cells: Object.fromEntries(
      CONTESTANTS.map((name) => [name, columns.get(name)?.[index] ?? '']),
    ) as Row['cells'],
  }))
}

async function playContestant(
  name: ContestantName,
  report: (line: string) => void,
): Promise<readonly string[]> {
  const stage = await openStage(name)
  try {
    const cells: string[] = []
    for (const { situations } of CHAPTERS) {
      for (const situation of situations) {
        const cell = await situation.play(stage)
        report(`${name}: ${situation.title}: ${cell}`)
        cells.push(cell)
      }
    }
    return cells
  } finally {
    await stage.close()
  }
}

/** The table as Markdown. */
export function markdown(rows: readonly Row[]): string {
  const lines = [`| | ${CONTESTANTS.map((name) => TITLES[name]).join(' | ')} |`, '|---|---|---|---|---|']
  let chapter = ''
  for (const row of rows) {
    if (row.chapter !== chapter) lines.push(`| **${row.chapter}** | | | | |`)
    chapter = row.chapter
    lines.push(`| ${row.title} | ${CONTESTANTS.map((name) => row.cells[name]).join(' | ')} |`)
  }
  return lines.join('\n')
}
