// The public suite of HTTP caches, run against the mirror, and against nginx to show that it can find fault.

import { readFileSync } from 'node:fs'
import { beforeAll, expect, it } from 'vitest'
import { describeClient } from '../clients/support/tools.ts'
import { type ContestantName, WAYS, type Way } from './contestants.ts'
import { type Run, runContestants } from './run.ts'
import { reusedIn, scoreOf } from './score.ts'
import { PACKAGE, runSuite, type SuiteResult } from './suite.ts'
import { markdown, NAMES, type Scores, scoresOf } from './table.ts'
import { complaints, WAIVERS, waivedOf } from './waivers.ts'

const FOLDER = new URL('../../nginx-compare/', import.meta.url)
const RUN_WITHIN_MS = 300_000
/** A second that ends between two steps of a test is chance, and nginx counts whole ones. A slow machine ends a test early: seen in `passed`. */
const SLACK = 3

describeClient(
  'the public suite of HTTP caches',
  ['nginx', PACKAGE],
  () => {
    let runs: Readonly<Record<ContestantName, Run>>

    beforeAll(async () => {
      runs = await runContestants(NAMES)
    }, RUN_WITHIN_MS)

    it('finds no forbidden reuse in the mirror except those waived with a reason, and each waiver is needed', () => {
      for (const way of Object.keys(WAYS) as Way[])
        expect(complaints(runs[way], WAIVERS[way]), way).toEqual([])
      expect(new Set(Object.values(WAIVERS).flatMap(Object.keys)).size).toBeLessThanOrEqual(10)
    })

    it('finds that one caller of the naive cache gets the answer of another, as the headers alone imply', () => {
      for (const name of ['naive', 'http'] as const) {
        expect(complaints(runs[name], WAIVERS.public), name).toContain(
          'other-authorization: a forbidden reuse',
        )
      }
      for (const name of ['careful', 'public', 'private', 'passed'] as const) {
        expect(scoreOf(runs[name]).forbidden, name).not.toContain('other-authorization')
      }
      expect(scoreOf(runs.careful).forbidden).toContain('cc-resp-no-store')
      expect(scoreOf(runs.http).forbidden).toContain('invalidate-POST')
    })

    it('finds that nothing of a private repo is sent twice but a refusal, and nothing that is passed through', () => {
      expect(reusedIn(runs.private)).toEqual([
        'heuristic-403-not_cached',
        'heuristic-404-cached',
        'status-404-fresh',
        'status-404-stale',
      ])
      expect(reusedIn(runs.passed)).toEqual([])
    })

    it('finds that the mirror answers from the store when the origin cuts the connection, or fails', () => {
      expect(reusedIn(runs.public)).toEqual(expect.arrayContaining(['stale-close', 'stale-503']))
      expect(reusedIn(runs.nothing)).toEqual([])
    })

    it('rejects a waiver that is not needed, that names no test, or that gives no reason', () => {
      const reason = 'a reason that is long enough'
      const own = WAIVERS.public
      expect(complaints(runs.public, { ...own, 'freshness-max-age-0': reason })).toEqual([
        'freshness-max-age-0: waived, and not needed any more',
      ])
      expect(complaints(runs.public, { ...own, 'no-such-test': reason })).toEqual([
        'no-such-test: waived, and no test of the suite',
      ])
      expect(complaints(runs.public, { ...own, 'status-404-stale': '' })).toEqual([
        'status-404-stale: waived without a reason',
      ])
      expect(complaints(runs.public, {})).toHaveLength(Object.keys(own).length)
    })

    it('finds the same for its own origin with the other runs before it as without', async () => {
      const direct = await runSuite((originUrl) => Promise.resolve(originUrl))
      // It tests the length of a body, which the legs must set again.
      const verdicts = (results: readonly SuiteResult[]) =>
        results
          .filter(({ id }) => id !== 'headers-store-Content-Length')
          .map(({ id, verdict }) => [id, verdict])
      expect(verdicts(runs.nothing.results)).toEqual(verdicts(direct))
      expect(direct).toHaveLength(350)
    })

    it('has the scores that are written down', () => {
      const written = JSON.parse(readFileSync(new URL('cache-suite.json', FOLDER), 'utf8')) as Scores
      const readme = readFileSync(new URL('README.md', FOLDER), 'utf8')
      expect(readme, 'npm run cache-suite -- --write').toContain(markdown(written, waivedOf))
      const { totals, scores } = scoresOf(runs)
      expect(totals).toEqual(written.totals)
      for (const name of NAMES) {
        const isNginx = name === 'http' || name === 'careful' || name === 'naive'
        for (const [figure, count] of Object.entries(scores[name])) {
          // Whether the mirror reuses what is forbidden does not depend on time.
          const isTimed = isNginx || (name === 'passed' && figure !== 'forbidden')
          const slack = isTimed ? SLACK : 0
          const before = written.scores[name][figure as keyof Scores['scores'][ContestantName]]
          expect(
            Math.abs(count - before),
            `${name}, ${figure}: ${count}, written ${before}`,
          ).toBeLessThanOrEqual(slack)
        }
      }
    })
  },
  { setup: 'nginx-compare/setup.sh and test/cache-suite/setup.sh' },
)
