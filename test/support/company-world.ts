// A mirror with a Hub token of its own, in front of a Hub where that token opens private repos, and with tokens that it has
// issued. Its clocks stand still.

import { createMirrorToken } from '../../src/callers/mirror-token.ts'
import { changeTokenFile, mirrorTokensPath } from '../../src/callers/token-file.ts'
import { type IssuedToken, tokenHash } from '../../src/callers/token-list.ts'
import type { Config } from '../../src/config/keys.ts'
import { Secret } from '../../src/config/secret.ts'
import { policiesOf } from './policies.ts'
import { openScene, type Scene } from './scene.ts'

/** Hub tokens that only the mirror has: both may read `acme/secret`. */
export const COMPANY_TOKEN = `hf_${'corp77'.repeat(6).slice(0, 34)}`
export const COMPANY_TOKEN_NEXT = `hf_${'corp88'.repeat(6).slice(0, 34)}`

export const SECRET = '/acme/secret/resolve/main/config.json'
export const LARGE = '/acme/secret/resolve/main/w.bin'
export const OPEN = '/acme/open/resolve/main/config.json'

/** A rule lends the token called team to the holder of `ci`, for all of acme. */
const TO_CI = '- {action: use-token, token: team, match: {repo: acme/*, caller: {mirrorToken: ci}}}'

/** The beginning of the year 2030. */
export const START_AT = Date.UTC(2030, 0, 1)

/** Opens the scene of the running test. Without `rules`, a rule lends the Hub token to `ci`; '' is no rule. */
export async function openCompany(
  options: { readonly rules?: string; readonly config?: Partial<Config>; readonly token?: Secret } = {},
) {
  let wallMs = START_AT
  const scene = await openScene({
    config: {
      hubTokens: new Map([['team', options.token ?? Secret.of(COMPANY_TOKEN)]]),
      policies: options.rules === '' ? [] : policiesOf(options.rules ?? TO_CI),
      ...options.config,
    },
    mirror: { now: () => wallMs },
  })
  scene.world.addUser('corp', { token: COMPANY_TOKEN, role: 'write' })
  scene.world.addUser('corp-next', { token: COMPANY_TOKEN_NEXT })
  scene.world.model('acme/secret').private(['alice', 'corp', 'corp-next'])
  scene.world.model('acme/gated').gated('manual', ['alice', 'corp'])
  const path = mirrorTokensPath(scene.mirror.config)
  const change = async (work: (list: readonly IssuedToken[]) => readonly IssuedToken[]) => {
    await changeTokenFile(path, work)
    scene.clock.advance(1_000)
  }
  return {
    scene,
    /** Changes the list of tokens and lets the mirror see it. */
    change,
    /** Moves the clock by which tokens expire. */
    pass: (ms: number) => {
      wallMs += ms
    },
    /** Issues a token and lets the mirror see it. */
    issue: async (name = 'ci', more: Partial<IssuedToken> = {}) => {
      const token = createMirrorToken()
      await change((list) => [...list, { name, sha256: tokenHash(token), createdAt: wallMs, ...more }])
      return token
    },
    /** The wall clock. */
    now: () => wallMs,
  }
}

export function basic(user: string, password: string): string {
  return `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`
}

/** The Authorization fields that reached the Hub, as they came. */
export function credentials(scene: Scene): Set<string | undefined> {
  return new Set(scene.hub.ledger.requests({ server: 'hub' }).map((entry) => entry.headers.authorization))
}
