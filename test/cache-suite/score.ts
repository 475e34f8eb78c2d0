// What a run of the suite comes to: which reuses were forbidden, how many decisions were right, and the suite's own
// score. Judges reuse by what the legs saw, so that a header field that did not arrive hides none.

import type { Run } from './run.ts'
import type { Kind, SuiteResult } from './suite.ts'

/** Figures of one run. */
export interface Score {
  /** Required tests that forbid a reuse which took place. */
  readonly forbidden: readonly string[]
  /** Required tests in which every request was answered from where the suite wants it. */
  readonly decided: number
  /** What the suite itself counts as passed. */
  readonly required: number
  readonly optimal: number
}

/** How many tests there are of what is counted. */
export interface Totals {
  readonly forbidding: number
  readonly required: number
  readonly optimal: number
}

export function totalsOf({ results }: Run): Totals {
  const count = (kind: Kind) => results.filter((result) => result.kind === kind).length
  const forbidding = results.filter(
    (result) => result.kind === 'required' && result.expects.some(isForbidding),
  )
  return { forbidding: forbidding.length, required: count('required'), optimal: count('optimal') }
}

export function scoreOf(run: Run): Score {
  const required = run.results.filter(({ kind }) => kind === 'required')
  const passed = (kind: Kind) =>
    run.results.filter((result) => result.kind === kind && result.verdict === 'pass').length
  return {
    forbidden: required
      .filter((result) => decisionsIn(run, result).includes('forbidden'))
      .map(({ id }) => id),
    decided: required.filter((result) => decisionsIn(run, result).every((one) => one === 'right')).length,
    required: passed('required'),
    optimal: passed('optimal'),
  }
}

/** Tests in which a request, wanted so or not, was answered with what had been made for an earlier one. */
export function reusedIn({ seen }: Run): string[] {
  return [...new Set(seen.filter(({ reused }) => reused).map(({ test }) => test))].sort()
}

type Decision = 'right' | 'forbidden' | 'other'
type Expected = SuiteResult['expects'][number]

function isForbidding(expected: Expected): boolean {
  return expected !== null && expected !== 'cached'
}

/** Of every request of which the suite wants something. One that was never made, as a test was given up, is not right. */
function decisionsIn({ seen }: Run, { id, expects }: SuiteResult): Decision[] {
  return expects.flatMap((expected, index): Decision[] => {
    if (expected === null) return []
    const one = seen.find(({ test, request }) => test === id && request === index + 1)
    if (one === undefined) return ['other']
    const { reused, originStatus } = one
    switch (expected) {
      case 'cached':
        return [reused ? 'right' : 'other']
      case 'not_cached':
        return [reused ? 'forbidden' : 'right']
      // The stored answer may be used, but not without a question. The suite's origin calls one that holds no validator
      // an error of its own (999), for which a cache may give what it has.
      case 'etag_validated':
      case 'lm_validated':
        if (originStatus === 304) return ['right']
        return [reused && originStatus === undefined ? 'forbidden' : 'other']
      default:
        return expected satisfies never
    }
  })
}
