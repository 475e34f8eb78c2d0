// The repos that the client suites ask for. Small, but with one of each kind that clients treat differently.

import { lfs, World } from '../../hub-simulator/repos.ts'
import { tinyModelFiles } from '../../hub-simulator/tiny-model.ts'

export const TOKENS = {
  alice: `hf_${'alicealice'.repeat(4).slice(0, 34)}`,
  bob: `hf_${'bobbobbobb'.repeat(4).slice(0, 34)}`,
  invalid: `hf_${'invalid000'.repeat(4).slice(0, 34)}`,
} as const

/** Larger than two of Python's 10 MiB blocks, below which it starts a broken download over. */
export const LARGE_BYTES = 24_000_000

/** Names that break if a program decodes them twice, or not at all. */
const ODD_NAMES = [
  'a b.txt',
  '#hash.txt',
  '100%25.txt',
  'question?mark&amp=1.txt',
  'plus+and;semi.txt',
  '[brackets](1).txt',
  'überraschung/日本語.txt',
  'sub folder/weights [1] #2.bin',
] as const

/** A world with users alice and bob; nothing in it is shared with another call. */
export function clientWorld(): World {
  const world = new World()
  world.addUser('alice', { token: TOKENS.alice, orgs: ['acme'] })
  world.addUser('bob', { token: TOKENS.bob })

  const tiny = world.model('acme/tiny')
  const first = tiny.commit({
    'README.md': '# tiny\n',
    'config.json': '{"model_type":"tiny"}\n',
    'empty.txt': '',
    'model.safetensors': lfs({ sizeBytes: 3_000_000, seed: 1 }),
    'nested/deeper/vocab.txt': 'one\ntwo\n',
  })
  tiny.tag('v1', first)
  tiny.commit({ 'config.json': '{"model_type":"tiny","v":2}\n' })
  tiny.branch('dev', first)
  tiny.commit({ 'config.json': '{"model_type":"dev"}\n' }, { branch: 'dev' })
  const proposal = tiny.commit({ 'README.md': '# proposed\n' }, { branch: 'refs/pr/1', parent: first })
  tiny.ref('refs/pr/1', proposal)

  world.model('acme/bert').commit(tinyModelFiles())
  world
    .model('acme/odd')
    .commit(
      Object.fromEntries(
        ODD_NAMES.map((name, index) => [
          name,
          name.endsWith('.bin') ? lfs({ sizeBytes: 70_000, seed: 100 + index }) : `content of ${name}\n`,
        ]),
      ),
    )
  world
    .model('acme/many')
    .commit(
      Object.fromEntries(
        Array.from({ length: 1100 }, (_, index) => [
          `part-${String(index).padStart(4, '0')}.txt`,
          `${index}\n`,
        ]),
      ),
    )
  world.model('acme/large').commit({ 'large.bin': lfs({ sizeBytes: LARGE_BYTES, seed: 2 }) })
  world.model('legacy').commit({ 'config.json': '{"legacy":true}\n', 'weights.bin': lfs('legacy weights') })
  world.dataset('acme/data').commit({
    'README.md': '# data\n',
    'data/train.csv': 'text,label\nhello,1\n',
    'data/train.parquet': lfs({ sizeBytes: 200_000, seed: 3 }),
  })
  world.space('acme/demo').commit({ 'app.py': 'print("hello")\n', 'logo.png': lfs('not really a picture') })

  world
    .model('acme/secret')
    .private(['alice'])
    .commit({ 'config.json': '{"secret":true}\n', 'model.safetensors': lfs({ sizeBytes: 100_000, seed: 4 }) })
  world
    .model('acme/gated')
    .gated('manual', ['alice'])
    .commit({ 'config.json': '{"gated":true}\n', 'model.safetensors': lfs({ sizeBytes: 100_000, seed: 5 }) })
  return world
}
