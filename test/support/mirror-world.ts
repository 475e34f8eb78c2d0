// The world of the integration tests: one repo of each kind that the mirror must distinguish, small and the same in
// every test, and made for that test alone.

import { lfs, World } from '../hub-simulator/repos.ts'

export const TOKENS = {
  /** May read `acme/secret` and `acme/gated`, and write to what is her own. */
  alice: `hf_${'alice1'.repeat(6).slice(0, 34)}`,
  /** Known to the Hub, and let in nowhere. */
  bob: `hf_${'bobby2'.repeat(6).slice(0, 34)}`,
  /** Not known to the Hub. */
  invalid: `hf_${'wrong3'.repeat(6).slice(0, 34)}`,
} as const

export const LARGE_BYTES = 3_000_000

/** Names that break if a program decodes them twice, or not at all. */
export const ODD_NAMES = [
  'a b.txt',
  '#hash.txt',
  '100%25.txt',
  'question?mark&amp=1.txt',
  'plus+and;semi.txt',
  '[brackets](1).txt',
  'überraschung/日本語.txt',
  'sub folder/weights [1] #2.bin',
] as const

export const SECRET_CONFIG = '{"secret":"of alice"}\n'
export const GATED_CONFIG = '{"gated":"for members"}\n'

/** Makes the world. */
export function mirrorWorld(): World {
  const world = new World()
  world.addUser('alice', { token: TOKENS.alice, role: 'write' })
  world.addUser('bob', { token: TOKENS.bob })

  const open = world.model('acme/open')
  const first = open.commit({
    'README.md': '# open\n',
    'config.json': '{"model_type":"open"}\n',
    'empty.txt': '',
    'w.bin': lfs({ sizeBytes: LARGE_BYTES, seed: 1 }),
    'nested/deeper/vocab.txt': 'one\ntwo\n',
  })
  open.tag('v1', first)
  open.commit({ 'config.json': '{"model_type":"open","v":2}\n' })
  open.branch('dev', first)
  const proposal = open.commit({ 'README.md': '# proposed\n' }, { branch: 'refs/pr/1', parent: first })
  open.ref('refs/pr/1', proposal)

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
  world.model('legacy').commit({ 'config.json': '{"legacy":true}\n', 'w.bin': lfs('legacy weights') })
  world.dataset('acme/data').commit({
    'data/train.csv': 'text,label\nhello,1\n',
    'data/train.parquet': lfs({ sizeBytes: 200_000, seed: 3 }),
  })
  world.space('acme/demo').commit({ 'app.py': 'print("hello")\n', 'logo.png': lfs('not really a picture') })
  world
    .model('acme/old')
    .renamedTo('acme/new')
    .commit({ 'config.json': '{"renamed":true}\n', 'w.bin': lfs({ sizeBytes: 50_000, seed: 6 }) })

  world
    .model('acme/secret')
    .private(['alice'])
    .commit({ 'config.json': SECRET_CONFIG, 'w.bin': lfs({ sizeBytes: 300_000, seed: 4 }) })
  world
    .model('acme/gated')
    .gated('manual', ['alice'])
    .commit({
      'README.md': '# card\n',
      'config.json': GATED_CONFIG,
      'w.bin': lfs({ sizeBytes: 300_000, seed: 5 }),
    })
  return world
}
