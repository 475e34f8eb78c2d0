// Private repos on the other side of an air gap: a bundle opens them to the callers whom a rule of that side names, with every client
// that can send a token, and to no other caller.

import { writeFile } from 'node:fs/promises'
import { afterAll, beforeAll, describe, it } from 'vitest'
import type { Client } from './matrix/client.ts'
import { CLIENTS } from './matrix/clients.ts'
import { expectRead, expectRefused, run } from './matrix/columns.ts'
import { type Network, openNetwork } from './matrix/network.ts'
import { canRead } from './matrix/play.ts'
import { inTurn } from './matrix/pool.ts'
import { type AirGap, argumentsFor, gapWorld, openAirGap, repoFor } from './support/air-gap.ts'
import { TOKENS } from './support/world.ts'

const RULE = `policies:
  - name: air-gap
    match: { repo: acme/secret-*, caller: { mirrorToken: 'team-*' } }
    action: serve-stored
cache: { private: on }
`

let network: Network
let gap: AirGap
let team = ''
let other = ''
beforeAll(async () => {
  network = await openNetwork()
  gap = await openAirGap(gapWorld(), network)
  const ruled = { env: { HUBMIRROR_CONFIG: gap.at('rules.yaml'), HF_TOKEN: TOKENS.alice } }
  await writeFile(gap.at('rules.yaml'), RULE)
  const repos = argumentsFor('secret')
  await gap.here(['prefetch', ...repos], ruled)
  await gap.here(['bundle', 'create', gap.at('a.tar'), '--private', ...repos], ruled)
  gap.hub.ledger.clear()
  team = await gap.there(['token', 'create', 'team-a'])
  other = await gap.there(['token', 'create', 'other'])
  await gap.there(['bundle', 'load', gap.at('a.tar')], { status: 1 })
  await gap.serve()
})
afterAll(async () => {
  await gap.close()
  await network.close()
})

/** What a client prints of a repo that is not for its user, where it does not print the sentence of the mirror. */
const REFUSED: Readonly<Record<string, RegExp>> = {
  HfFileSystem: /FileNotFoundError: .*repository not found/,
  'transformers 4': /OSError: acme\/secret-model is not a local folder and is not a valid model identifier/,
  'transformers 5': /OSError: acme\/secret-model is not a local folder and is not a valid model identifier/,
  'polars by HfFileSystem': /FileNotFoundError: .*repository not found/,
  'transformers.js in Node': /Could not locate file/,
  aria2: /Resource not found/,
  'hf-hub 0.5': /StatusCode\(404\)/,
}
const NO_CONTENT = /has stored no public content of this repo/
const IN_PYTHON = /RepositoryNotFoundError: 404 .*has stored no public content of this repo/s
const DATASETS = /DatasetNotFoundError/

/** Without registry and git, of whose answers about private repos nothing is stored. */
const clients = CLIENTS.filter((one) => canRead(one) && !/^git|^Ollama|older$/.test(one.name))

function refusalOf({ name }: Client): RegExp {
  if (name.startsWith('huggingface_hub ') || name === 'hf_transfer') return IN_PYTHON
  if (name.startsWith('datasets')) return DATASETS
  return REFUSED[name] ?? NO_CONTENT
}

async function expectNone(client: Client, token: string | undefined): Promise<void> {
  const ask = { endpoint: gap.endpoint(), repo: repoFor(client, 'secret') }
  const command = client.read({ ...ask, ...(token === undefined ? {} : { token }) })
  expectRefused(await run(gap, command), refusalOf(client))
}

/** One of each family: those that are refused. */
const STRANGERS = new Set([
  'huggingface_hub 0.20',
  'huggingface_hub 0.36',
  'huggingface_hub 2',
  'HfFileSystem',
  'transformers 5',
  'datasets, Parquet',
  'polars by HfFileSystem',
  '@huggingface/hub',
  'transformers.js in Node',
  'curl',
  'aria2',
  'hf-hub 0.5',
  'hf-hub 1',
  'llama.cpp',
  'TEI',
])
const strangers = clients.filter(({ name }) => STRANGERS.has(name))

/** None, that of another mirror token, and that of a user to whom the Hub would show the repo. */
function tokensOfOthers({ name }: Client): readonly (string | undefined)[] {
  return [undefined, other, ...(name === 'huggingface_hub 2' ? [TOKENS.alice] : [])]
}

describe.concurrent('without a rule, private and gated repos of a bundle', () => {
  it.each(strangers)('are refused to the caller who reads them by $name', (client) =>
    inTurn(() => expectNone(client, team)),
  )
})

describe('with a rule of the other side', () => {
  beforeAll(async () => {
    await gap.end()
    const env = { HUBMIRROR_CONFIG: gap.at('rules.yaml') }
    await gap.there(['bundle', 'load', gap.at('a.tar')], { env })
    await gap.serve(env)
  })

  describe.concurrent('private and gated repos of a bundle', () => {
    it.each(clients.filter(({ isAnonymous }) => isAnonymous !== true))(
      'are read by $name as the caller whom the rule names',
      (client) =>
        inTurn(async () => {
          await expectRead(client, gap, { repo: repoFor(client, 'secret'), token: team })
          gap.expectNothingLeft()
        }),
    )
    it.each(strangers)('are refused to all other callers who read by $name', (client) =>
      inTurn(async () => {
        for (const token of tokensOfOthers(client)) await expectNone(client, token)
        gap.expectNothingLeft()
      }),
    )
  })
})
