// One run of the suite: a contestant between the legs.

import { CONTESTANTS, type ContestantName } from './contestants.ts'
import { type LegBehind, type Legs, type Seen, startLegBehind, startLegs } from './legs.ts'
import { runSuite, type SuiteResult } from './suite.ts'

/** What the suite says of every test, and what became of every request. */
export interface Run {
  readonly results: readonly SuiteResult[]
  readonly seen: readonly Seen[]
}

export async function runContestant(name: ContestantName): Promise<Run> {
  const { place, start } = CONTESTANTS[name]
  const running: { stop(): Promise<unknown> }[] = []
  const started = <T extends LegBehind | Legs | { stop(): Promise<unknown> }>(it: T): T => {
    running.unshift(it)
    return it
  }
  let seen: readonly Seen[] = []
  try {
    const results = await runSuite(async (originUrl) => {
      const behind = started(await startLegBehind(originUrl, place))
      const { url: cacheUrl } = started(await start(behind.url))
      const legs = started(await startLegs({ originUrl, cacheUrl, behind, place }))
      seen = legs.seen
      return legs.url
    })
    return { results, seen }
  } finally {
    for (const one of running) await one.stop()
  }
}

/** Runs several contestants, two at a time, since they mostly wait. Calls `said` for each that is done. */
export async function runContestants<Name extends ContestantName>(
  names: readonly Name[],
  said: (name: Name) => void = () => undefined,
): Promise<Record<Name, Run>> {
  const left = [...names]
  const runs: Partial<Record<Name, Run>> = {}
  const lane = async (): Promise<void> => {
    for (let name = left.shift(); name !== undefined; name = left.shift()) {
      runs[name] = await runContestant(name)
      said(name)
    }
  }
  await Promise.all([lane(), lane()])
  return runs as Record<Name, Run>
}
