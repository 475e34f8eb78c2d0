// A small world with one repo of every kind of access, for tests that go through all of them.
// Knows no server; the demo world is the one with real models.

import { lfs, World } from './repos.ts'

/** Alice is let in everywhere, Bob nowhere; the writer belongs to `acme` and may change its repos. */
export const ALICE = `hf_${'alice'.padEnd(34, '0')}`
export const BOB = `hf_${'bob'.padEnd(34, '0')}`
export const WRITER = `hf_${'writer'.padEnd(34, '0')}`
/** Size of `w.bin`, the LFS file of each repo: some pieces, and not a round number of them. */
export const BIG_BYTES = 300_000

/** `acme/{open,private,gated,off}`, `acme/old` renamed to `acme/new`, and the one-segment `legacy`. */
export function matrixWorld(): World {
  const world = new World()
    .addUser('alice', { token: ALICE })
    .addUser('bob', { token: BOB })
    .addUser('writer', { token: WRITER, role: 'write', orgs: ['acme'] })
  const files = {
    'config.json': '{"model_type":"bert"}',
    'a b/#c%d é[1]+&?.json': '{}',
    'empty.txt': '',
    'w.bin': lfs({ sizeBytes: BIG_BYTES, seed: 7 }),
  }
  world.model('acme/open').commit(files)
  world.model('acme/private').private(['alice']).commit(files)
  world.model('acme/gated').gated('manual', ['alice']).commit(files)
  world.model('acme/off').disabled().commit(files)
  world.model('legacy').commit(files)
  world.model('acme/old').commit(files)
  world.model('acme/old').renamedTo('acme/new')
  return world
}
