// One of everything that matters to a mirror: public, private, gated, legacy, big; two users. For demos, client
// tests and benchmarks. Knows no server.

import { lfs, World } from './repos.ts'
import { tinyModelFiles } from './tiny-model.ts'

/** Alice may read everything and write under `acme`; Bob has a valid token and no right to anything closed. */
export const DEMO_TOKENS = {
  alice: `hf_${'demoTokenOfAlice'.padEnd(34, 'A')}`,
  bob: `hf_${'demoTokenOfBob'.padEnd(34, 'B')}`,
} as const

/** Size of the one big file, `acme/big-model/model.safetensors`. */
export const BIG_FILE_BYTES = 64 * 1024 * 1024

/** Builds the world. Takes a moment: the big file is hashed once per process. */
export function demoWorld(): World {
  const world = new World()
    .addUser('alice', { token: DEMO_TOKENS.alice, role: 'write', orgs: ['acme'] })
    .addUser('bob', { token: DEMO_TOKENS.bob })

  const tiny = world.model('acme/tiny-model')
  const first = tiny.commit(tinyModelFiles(), { message: 'Add the tiny model' })
  tiny.tag('v1', first)
  tiny.commit({ 'README.md': '# Tiny model\n\nA second commit, so that main and v1 differ.\n' })
  tiny.commit({ 'proposal.txt': 'A pull request.\n' }, { branch: 'refs/pr/1', parent: first })

  world.dataset('acme/tiny-data').commit({
    '.gitattributes': '*.parquet filter=lfs diff=lfs merge=lfs -text\n',
    'README.md': '---\nlicense: apache-2.0\n---\n# Tiny data\n',
    'data/train.csv': `text,label\n${Array.from({ length: 50 }, (_, row) => `sentence ${row},${row % 2}`).join('\n')}\n`,
    // Enough of Parquet for a range reader to look at both ends; no table inside.
    'data/blob.parquet': lfs(`PAR1${'.'.repeat(4096)}PAR1`),
  })
  world.space('acme/tiny-space').commit({
    'README.md': '---\nsdk: static\n---\n',
    'index.html': '<!doctype html><title>Tiny space</title>\n',
  })
  world.model('tinygpt').commit({ ...tinyModelFiles(), 'README.md': '# A name of one segment\n' })
  world
    .model('acme/secret-model')
    .private(['alice'])
    .commit({ ...tinyModelFiles(), 'secret.txt': 'a secret\n' })
  world.model('acme/gated-model').gated('manual', ['alice']).commit(tinyModelFiles())
  world.model('acme/big-model').commit({
    'config.json': '{"model_type":"bert"}\n',
    'model.safetensors': lfs({ sizeBytes: BIG_FILE_BYTES, seed: 64 }),
  })
  return world
}
