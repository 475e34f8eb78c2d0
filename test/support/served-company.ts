// A company whose private repo was downloaded once, by a mirror with `serve-stored` rules: who sees what of it afterwards.

import { join } from 'node:path'
import { expect } from 'vitest'
import type { Config } from '../../src/config/keys.ts'
import { decodeFact } from '../../src/store/facts/fact-bytes.ts'
import { FACT_KINDS } from '../../src/store/store.ts'
import { withTable } from '../../src/store/table/table.ts'
import type { Question, Reply } from './ask.ts'
import { openCompany } from './company-world.ts'
import { eventually } from './eventually.ts'
import type { Scene } from './scene.ts'

export const SMALL = '/acme/secret/resolve/main/config.json'
export const LARGE = '/acme/secret/resolve/main/w.bin'
export const ABSENT = '/acme/secret/resolve/main/adapter_config.json'
export const INFO = '/api/models/acme/secret/revision/main'
export const TREE = '/api/models/acme/secret/tree/main?recursive=true&expand=false'
export const REFS = '/api/models/acme/secret/refs'
export const LEND =
  '- {name: lend, action: use-token, token: team, match: {repo: acme/*, caller: {mirrorToken: ci}}}'
const SERVE = `- name: air-gap
  action: serve-stored
  match: {repo: acme/secret, caller: {mirrorToken: [ci, team-*]}}
- {name: lab, action: serve-stored, match: {repo: acme/secret, caller: {network: 10.1.0.0/16}}}`
export const RULES = `${LEND}\n${SERVE}`
export const ACCESS_TTL_MS = 60_000

export interface Company extends Awaited<ReturnType<typeof openCompany>> {
  readonly ci: string
  readonly other: string
  /** A named caller to whom no rule gives a Hub token, so that the Hub has never shown it anything. */
  readonly team: string
}

/** A company whose `ci` has downloaded the private repo once. */
export async function downloaded(config: Partial<Config> = {}, rules = RULES): Promise<Company> {
  const company = await openCompany({
    rules,
    config: { cachePrivate: true, trustProxy: ['127.0.0.1'], ...config },
  })
  const ci = await company.issue('ci')
  const [other, team] = [await company.issue('other'), await company.issue('team-a')]
  await download(company.scene, ci)
  return { ...company, ci, other, team }
}

async function download(scene: Scene, token: string): Promise<void> {
  for (const target of [INFO, TREE, REFS, SMALL, LARGE])
    expect([target, (await scene.ask(target, { token })).status]).toEqual([target, 200])
  await scene.settled()
}

export async function loseHub(scene: Scene): Promise<void> {
  await scene.hub.stop()
  scene.clock.advance(ACCESS_TTL_MS)
}

const TARGETS = [
  SMALL,
  LARGE,
  ABSENT,
  INFO,
  TREE,
  REFS,
  '/api/models/acme/secret',
  '/acme/secret/resolve/main/none',
]

/** What a refusal tells, without what differs between any two answers. */
function told({ status, headers, body }: Reply): unknown {
  const { 'x-request-id': _, date: __, ...rest } = headers
  return [status, rest, body.toString()]
}

/** The refusal is that of a repo which the mirror does not know, whatever is asked for. */
export async function expectNothingTold(
  scene: Scene,
  question: Question,
  targets: readonly string[] = TARGETS,
): Promise<void> {
  for (const target of targets) {
    for (const method of ['HEAD', 'GET']) {
      const got = await scene.ask(target, { ...question, method })
      const unknown = await scene.ask(target.replace('acme/secret', 'acme/nothing'), { ...question, method })
      expect([target, got.status]).not.toEqual([target, 200])
      expect([target, told(got)]).toEqual([target, told(unknown)])
    }
  }
}

export const from = (address: string): Question => ({ headers: { 'x-forwarded-for': address } })

/** What named and other callers see of the repo now. */
export async function seen(scene: Scene, { team, other }: Company): Promise<unknown[]> {
  const kinds: unknown[] = []
  for (const token of [team, other]) {
    for (const target of [SMALL, LARGE, INFO]) {
      const { status, headers, body } = await scene.ask(target, { token })
      if (status !== 200) expect(body.includes('of alice') || body.includes('rfilename')).toBe(false)
      kinds.push(status === 200 ? headers['x-cache'] : status)
    }
  }
  return kinds
}
export const SERVED = ['STALE', 'STALE', 'STALE', 502, 502, 502]
export const NOT_SERVED = [502, 502, 502, 502, 502, 502]
export const HUB_SAYS_NO = [401, 401, 401, 401, 401, 401]

/** The keys of what the disk says of restricted repos. Closes the mirror. */
export async function restrictedFacts({ mirror }: Scene): Promise<string[]> {
  await mirror.close({ keepDir: true })
  return withTable(join(mirror.cacheDir, 'facts'), { readOnly: true }, (table) =>
    FACT_KINDS.flatMap((kind) => [...(table?.walkFacts(kind) ?? [])])
      .map(({ bytes }) => decodeFact(bytes)?.key ?? 'damaged')
      .filter((key) => !key.startsWith('http')),
  )
}

export async function factsRemoved({ mirror }: Scene): Promise<void> {
  await eventually(
    () => mirror.logLines('that no rule names any more were removed').length,
    (lines) => lines === 1,
  )
}
