// The repos that the table of clients is played with: one for each column, with contents of its own, so that no column
// finds what another one has stored. Each exists as a model or as a data set, as the client reads them.

import { readFileSync } from 'node:fs'
import { type Change, lfs, type Repo, World } from '../../hub-simulator/repos.ts'
import { tinyModelFiles } from '../../hub-simulator/tiny-model.ts'
import { tinyPipelineFiles } from '../../hub-simulator/tiny-pipeline.ts'
import { TOKENS } from '../support/world.ts'
import type { Client } from './client.ts'

export const WRITER = `hf_${'tablewriter'.repeat(4).slice(0, 34)}`

/** Larger than a few blocks, so that a download can be killed between its first byte and its last. */
export const LARGE_BYTES = 24_000_000

/** The repo of each column. */
export const REPOS = {
  open: 'acme/open',
  secret: 'acme/secret',
  gated: 'acme/gated',
  denied: 'acme/denied',
  large: 'acme/large',
  broken: 'acme/broken',
  prefixed: 'acme/prefixed',
  /** Exists for clients that create no repos. */
  upload: 'writer/there',
} as const

const ATTRIBUTES = '*.safetensors filter=lfs -text\n*.gguf filter=lfs -text\n*.bin filter=lfs -text\n'
const PARQUET = readFileSync(new URL('./rows.parquet', import.meta.url))
const ROWS = ['{"text":"hello","label":1}', '{"text":"world","label":2}'] as const

/** What a client reads. */
export type Reads = Pick<Client, 'repoType' | 'readsPipelines'>

/** A world with users alice (a reader of everything), bob and writer; nothing in it is shared with another call. */
export function tableWorld(reads: Reads): World {
  const world = new World()
  world.addUser('alice', { token: TOKENS.alice, orgs: ['acme'] })
  world.addUser('bob', { token: TOKENS.bob })
  world.addUser('writer', { token: WRITER, role: 'write' })
  for (const [index, id] of Object.values(REPOS).entries())
    world.repo(reads.repoType, id).commit(filesOf(reads, index))
  repoOf(world, REPOS.large).commit({ 'large.bin': lfs({ sizeBytes: LARGE_BYTES, seed: 7 }) })
  repoOf(world, REPOS.secret).private(['alice'])
  repoOf(world, REPOS.gated).gated('manual', ['alice'])
  return world
}

/** The repo of that name, of whichever type. Throws when there is none. */
export function repoOf(world: World, id: string): Repo {
  const repo = world.find('models', id)?.repo ?? world.find('datasets', id)?.repo
  if (repo === undefined) throw new Error(`no ${id}`)
  return repo
}

/** The files of a repo that a client can read, other ones for each `index` below 1,000. */
export function filesOf(
  { repoType, readsPipelines }: Reads,
  index: number,
): Readonly<Record<string, Change>> {
  return repoType === 'models' ? modelFiles(index, readsPipelines) : datasetFiles(index)
}

function modelFiles(index: number, isPipeline = false): Readonly<Record<string, Change>> {
  // Spaces behind JSON make each repo's file another one.
  const made = isPipeline ? tinyPipelineFiles : tinyModelFiles
  const files = Object.entries(made(index + 1)).map(([path, change]) => [
    path,
    typeof change === 'string' && path.endsWith('.json') ? `${change}${' '.repeat(index)}` : change,
  ])
  return {
    ...(Object.fromEntries(files) as Record<string, Change>),
    '.gitattributes': ATTRIBUTES,
    'tiny-Q4_K_M.gguf': lfs({ sizeBytes: 50_000, seed: 1000 + index }),
    'notes.txt': `notes of repo ${index}\n`,
  }
}

function datasetFiles(index: number): Readonly<Record<string, Change>> {
  return {
    'README.md': `# rows ${index}\n`,
    'data/train.parquet': lfs(parquet(index)),
    // Spaces make the file long enough to break off, and each repo's another one.
    'data/train.jsonl': lfs(`${ROWS.join('\n'.padStart(600 + index))}\n`),
  }
}

/** The same rows for each index, in a file with another digest: its metadata name a number that no reader looks at. */
function parquet(index: number): Uint8Array {
  const numbered = PARQUET.toString('latin1').replaceAll(
    'number-0000',
    `number-${String(index).padStart(4, '0')}`,
  )
  return Buffer.from(numbered, 'latin1')
}
