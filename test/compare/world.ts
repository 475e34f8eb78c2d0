// The repos that the comparison asks for: one for each situation, so that no situation finds the traces of another.

import { TOKENS } from '../clients/support/world.ts'
import { lfs, World } from '../hub-simulator/repos.ts'

/** Of the large file in each repo: several slices of nginx's, and below what a client would fetch in more than one piece. */
const LARGE_BYTES = 9_000_000

const REPOS = [
  'files',
  'resume',
  'cut',
  'unframed',
  'corrupt',
  'stored',
  'unstored',
  'unwell',
  'xet',
] as const

/** A world with alice, who is let in everywhere, and bob, who has a valid token and no right to anything closed. */
export function compareWorld(): World {
  const world = new World()
  world.addUser('alice', { token: TOKENS.alice })
  world.addUser('bob', { token: TOKENS.bob })
  let seed = 0
  const files = (name: string) => {
    seed += 1
    return {
      'README.md': `# ${name}\n`,
      'config.json': `{"name":"${name}"}\n`,
      'empty.txt': '',
      'nested/vocab.txt': 'one\ntwo\n',
      'model.safetensors': lfs({ sizeBytes: LARGE_BYTES, seed }),
    }
  }
  for (const name of REPOS) world.model(`acme/${name}`).commit(files(name))
  for (const name of ['secret', 'refused']) world.model(`acme/${name}`).private(['alice']).commit(files(name))
  world.model('acme/gated').gated('manual', ['alice']).commit(files('gated'))
  world.model('acme/before').commit(files('before'))
  world.model('acme/before').renamedTo('acme/after')
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
  return world
}
