// The scores side by side, as figures that can be kept and as a table of Markdown.

import { CONTESTANTS, type ContestantName } from './contestants.ts'
import type { Run } from './run.ts'
import { scoreOf, type Totals, totalsOf } from './score.ts'

/** How many of each, as they stand in nginx-compare/cache-suite.json. */
export interface Figures {
  readonly forbidden: number
  readonly decided: number
  readonly required: number
  readonly optimal: number
}

export interface Scores {
  readonly totals: Totals
  readonly scores: Readonly<Record<ContestantName, Figures>>
}

export const NAMES = Object.keys(CONTESTANTS) as ContestantName[]

export function scoresOf(runs: Readonly<Record<ContestantName, Run>>): Scores {
  const scores = NAMES.map((name) => {
    const { forbidden, ...figures } = scoreOf(runs[name])
    return [name, { forbidden: forbidden.length, ...figures }]
  })
  return {
    totals: totalsOf(runs.public),
    scores: Object.fromEntries(scores) as Scores['scores'],
  }
}

/** `waived` says how many of the forbidden reuses have a waiver. */
export function markdown({ totals, scores }: Scores, waived: (name: ContestantName) => number): string {
  const head = [
    '',
    `forbidden reuse (of ${totals.forbidding})`,
    `as wanted (of ${totals.required})`,
    `suite's score: required (of ${totals.required})`,
    `optimal (of ${totals.optimal})`,
  ]
  const rows = NAMES.map((name) => {
    const { forbidden, decided, required, optimal } = scores[name]
    const excused = waived(name)
    const reuse = excused === 0 ? String(forbidden) : `${forbidden - excused}, and ${excused} waived`
    return [CONTESTANTS[name].title, reuse, decided, required, optimal]
  })
  const line = (cells: readonly (string | number)[]) => `| ${cells.join(' | ')} |`
  return [line(head), `|${head.map(() => '---').join('|')}|`, ...rows.map(line)].join('\n')
}
