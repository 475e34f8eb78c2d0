// What becomes of a repo after the mirror has stored it reaches the callers of huggingface_hub as it does without the
// mirror: those who may still read it read it, the others get the exception that the Hub would make them raise.

import { expect, it } from 'vitest'
import type { World } from '../hub-simulator/repos.ts'
import { lfs, type Repo } from '../hub-simulator/repos.ts'
import { python } from './support/python.ts'
import { expectManners, useScene } from './support/scene.ts'
import { describeClient, pythonOf } from './support/tools.ts'
import { clientWorld, TOKENS } from './support/world.ts'

const READERS = ['alice']
const TURNS: Readonly<Record<string, (repo: Repo) => unknown>> = {
  'stays-open': () => undefined,
  'made-private': (repo) => repo.private(READERS),
  'closed-by-a-gate': (repo) => repo.gated('manual', READERS),
  'no-longer-gated': (repo) => repo.open(),
  'access-withdrawn': (repo) => repo.closeGate([]),
  disabled: (repo) => repo.disabled(),
  deleted: (repo) => repo.delete(),
  renamed: (repo) => repo.renamedTo(`${repo.id}-new`),
  'renamed-and-made-private': (repo) => repo.private(READERS).renamedTo(`${repo.id}-new`),
}
const GATED_BEFORE = ['no-longer-gated', 'access-withdrawn']
const CALLS = ['file', 'snapshot', 'info', 'tree']

/** A user of no organisation, so that it is lists that let in. */
function turningWorld(): World {
  const world = clientWorld()
  world.users.set('alice', { name: 'alice', orgs: [] })
  for (const name of Object.keys(TURNS)) {
    const repo = world.model(`turns/${name}`)
    if (GATED_BEFORE.includes(name)) repo.gated('manual', READERS)
    repo.commit({
      'config.json': `{"it":"${name}"}\n`,
      'w.bin': lfs({ sizeBytes: 50_000, seed: name.length }),
    })
  }
  return world
}

interface Case {
  readonly name: string
  readonly call: string
  readonly repo: string
  readonly path: string
  readonly token?: string
}

function casesOf(who: string, token: string | undefined): Case[] {
  return Object.keys(TURNS).flatMap((turn) =>
    CALLS.map((call) => ({
      name: `${who}: ${call} ${turn}`,
      call,
      repo: `turns/${turn}`,
      path: 'w.bin',
      ...(token === undefined ? {} : { token }),
    })),
  )
}

const CASES = Object.entries({ anonymous: undefined, ...TOKENS }).flatMap(([who, token]) =>
  casesOf(who, token),
)

/**
 * The one difference that is meant: clients take the Hub's bare 401 for "no such repo" over https:// only, so that over
 * http:// the mirror says what it means.
 */
function throughMirror(name: string, direct: string): string {
  return /^anonymous: .* (made-private|deleted|renamed-and-made-private)$/.test(name)
    ? 'RepositoryNotFoundError'
    : direct
}

for (const client of ['hub-2', 'hub-1', 'hub-0']) {
  describeClient(
    `huggingface_hub, when stored repos change at the Hub (${client})`,
    [pythonOf(client)],
    () => {
      // Every right is asked for again, so that no test has to wait.
      const env = {
        HUBMIRROR_ACCESS_TTL: '0s',
        HUBMIRROR_REF_TTL: '0s',
        HUBMIRROR_CACHE_PRIVATE: 'on',
      }
      const scene = useScene(turningWorld, { env })
      const play = async (cases: readonly Case[], direct: boolean) =>
        (await python(scene(), client, 'refusals.py', [JSON.stringify(cases)], { direct })) as Record<
          string,
          string
        >

      it('raises the exception that the Hub itself would make it raise, and no other', async () => {
        const warmed = await play(casesOf('alice', TOKENS.alice), false)
        expect(new Set(Object.values(warmed))).toEqual(new Set(['ok']))
        for (const [name, turn] of Object.entries(TURNS)) turn(scene().hub.world.model(`turns/${name}`))
        const direct = await play(CASES, true)
        scene().hub.ledger.clear()
        const right = Object.fromEntries(
          CASES.map(({ name }) => [name, throughMirror(name, direct[name] ?? '')]),
        )
        const raised = await play(CASES, false)
        expect(raised).toEqual(right)
        expect(raised).toMatchObject({
          'alice: file made-private': 'ok',
          'bob: file made-private': 'RepositoryNotFoundError',
          'bob: file closed-by-a-gate': 'GatedRepoError',
          'alice: file access-withdrawn': 'GatedRepoError',
          'anonymous: file no-longer-gated': 'ok',
          'alice: file deleted': 'RepositoryNotFoundError',
          'anonymous: snapshot renamed': 'ok',
          'alice: snapshot renamed-and-made-private': 'ok',
        })
        expectManners(scene().hub)
      })
    },
  )
}
