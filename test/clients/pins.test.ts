// What a file of pins wants is there for each family of clients while the Hub is away: no client has read it before.

import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { eventually } from '../support/eventually.ts'
import { run } from '../support/run-cli.ts'
import { CLIENTS } from './matrix/clients.ts'
import { expectRead } from './matrix/columns.ts'
import { type Network, openNetwork } from './matrix/network.ts'
import { canRead } from './matrix/play.ts'
import { inTurn } from './matrix/pool.ts'
import { openStage, type Stage } from './matrix/stage.ts'
import { REPOS, repoOf } from './matrix/world.ts'

const FETCHED_WITHIN_MS = 120_000
const FAMILIES = new Set([
  'huggingface_hub 0.20',
  'huggingface_hub 0.36',
  'huggingface_hub 1',
  'huggingface_hub 2',
  'hf',
  'HfFileSystem',
  'transformers 4',
  'transformers 5',
  'datasets, Parquet',
  'datasets, JSON streamed',
  'pandas hf://',
  '@huggingface/hub',
  'transformers.js in Node',
  'curl',
  'hf-hub 0.5',
  'hf-hub 1',
  'llama.cpp',
  'Ollama',
  'TEI',
])
const families = CLIENTS.filter((one) => FAMILIES.has(one.name) && canRead(one))

/** What `hubmirror pins --json` prints, as far as it is read here. */
interface PinsReport {
  readonly complete: boolean
  readonly pins: readonly { readonly nextRunAt: string | null }[]
}

/** Whether all is there, and no run is under way or due. */
function isReady({ complete, pins }: PinsReport): boolean {
  return complete && pins.every(({ nextRunAt }) => Date.parse(nextRunAt ?? '') > Date.now() + 1000)
}

let folder = ''
let network: Network
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hubmirror-pins-'))
  network = await openNetwork()
})
afterAll(async () => {
  await network.close()
  await rm(folder, { recursive: true, force: true })
})

const repoTypes = (['models', 'datasets'] as const).filter((type) =>
  families.some((client) => client.repoType === type),
)

describe.each(repoTypes)('a pinned repo of the %s', (repoType) => {
  let stage: Stage
  beforeAll(async () => {
    const pins = join(folder, `${repoType}.yaml`)
    const repo = repoType === 'datasets' ? `dataset/${REPOS.open}` : REPOS.open
    await writeFile(pins, `pins:\n  - { repo: ${repo} }\n`)
    stage = await openStage({ repoType }, network, { HUBMIRROR_PINS: pins })
    const settings = {
      HUBMIRROR_ORIGIN: stage.hub.url,
      HUBMIRROR_CACHE_DIR: join(stage.mirror().cacheDir, 'store'),
      HUBMIRROR_PINS: pins,
    }
    // The run has ended too: it fetches manifests of the registry last.
    await eventually(
      async () => (await run(['pins', '--json'], settings)).stdout,
      (text) => isReady(JSON.parse(text) as PinsReport),
      FETCHED_WITHIN_MS,
    )
    expect((await run(['pins', '--check'], settings)).status).toBe(0)
    stage.hub.ledger.clear()
    await stage.hub.stop()
  })
  afterAll(async () => {
    await stage.hub.start()
    await stage.close()
  })

  it.concurrent.each(families.filter((client) => client.repoType === repoType))(
    'is read by $name while the Hub is away',
    (client) =>
      inTurn(async () => {
        await expectRead(client, stage, { repo: REPOS.open })
        if (client.takesRevision !== true) return
        const commit = repoOf(stage.hub.world, REPOS.open).resolve('main')?.id ?? ''
        await expectRead(client, stage, { repo: REPOS.open, revision: commit })
        expect(stage.hub.ledger.requests()).toEqual([])
      }),
  )
})
