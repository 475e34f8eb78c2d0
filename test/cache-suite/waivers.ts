// The reuses that are forbidden by the suite and meant by the mirror, each with its reason, and whether a run agrees.

import { readFileSync } from 'node:fs'
import { type ContestantName, WAYS, type Way } from './contestants.ts'
import type { Run } from './run.ts'
import { scoreOf } from './score.ts'

/** Reasons by the id of the test. */
export type Waivers = Readonly<Record<string, string>>

export const WAIVERS = JSON.parse(readFileSync(new URL('waivers.json', import.meta.url), 'utf8')) as Readonly<
  Record<Way, Waivers>
>

/** How many reuses of a contestant are waived: none of one that is not the mirror. */
export function waivedOf(name: ContestantName): number {
  return isWay(name) ? Object.keys(WAIVERS[name]).length : 0
}

function isWay(name: ContestantName): name is Way {
  return Object.hasOwn(WAYS, name)
}

const SHORTEST_REASON_CHARS = 20

/** What is wrong between a run and its waivers, in words; nothing when every forbidden reuse is waived, and nothing else. */
export function complaints(run: Run, waivers: Waivers): string[] {
  const forbidden = new Set(scoreOf(run).forbidden)
  const known = new Set(run.results.map(({ id }) => id))
  return [
    ...[...forbidden].filter((id) => !Object.hasOwn(waivers, id)).map((id) => `${id}: a forbidden reuse`),
    ...Object.entries(waivers).flatMap(([id, reason]) => {
      if (!known.has(id)) return [`${id}: waived, and no test of the suite`]
      if (!forbidden.has(id)) return [`${id}: waived, and not needed any more`]
      return reason.length < SHORTEST_REASON_CHARS ? [`${id}: waived without a reason`] : []
    }),
  ]
}
