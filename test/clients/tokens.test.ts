// Which token a Python client brings, in the ways that servers hand one to it, and what its user reads when the mirror
// does not take it.

import { createHash } from 'node:crypto'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, expect, it, onTestFinished } from 'vitest'
import { createMirrorToken } from '../../src/callers/mirror-token.ts'
import { bytesOf } from '../hub-simulator/repos.ts'
import { lentToTeam } from './support/lent-to-team.ts'
import { hubEnvironment, pythonForJson } from './support/python.ts'
import { run } from './support/run.ts'
import { useSharedScene } from './support/scene.ts'
import { describeClient, pythonOf, scriptPath } from './support/tools.ts'
import { clientWorld, TOKENS } from './support/world.ts'

const CLI = fileURLToPath(new URL('../../dist/cli.js', import.meta.url))

const { scratch, config: CONFIG } = lentToTeam()
afterAll(() => rmSync(scratch, { recursive: true, force: true }))
/** The same, and `team-…` may read what is stored of the private repo without the Hub. */
const SERVING = join(scratch, 'serving.yaml')
writeFileSync(
  SERVING,
  `${readFileSync(CONFIG, 'utf8')}\
  - {action: serve-stored, match: {repo: acme/secret, caller: {mirrorToken: 'team-*'}}}
cache: {private: on}
`,
)

type Said = Readonly<
  Record<
    'file' | 'info' | 'whoami',
    { readonly got?: string; readonly raised?: string; readonly message?: string }
  >
>

for (const client of ['hub-2', 'hub-1', 'hub-0']) {
  describeClient(`tokens (${client})`, [pythonOf(client)], () => {
    // What the mirror itself finds in its environment must not be used: no policy lends it.
    const scene = useSharedScene(clientWorld, {
      env: { HF_API_TOKEN: TOKENS.alice, HUBMIRROR_CONFIG: CONFIG },
    })

    /** Asks for `acme/<name>` with `env` beside the usual environment. */
    const ask = async (
      name: string,
      env: Readonly<Record<string, string>>,
      launcher: readonly string[] = [],
    ) => {
      const script = [...launcher, scriptPath('messages.py')]
      return (await pythonForJson(client, [...script, `acme/${name}`, 'config.json'], {
        home: await scene().newHome(),
        env: { ...hubEnvironment(scene()), ...env },
      })) as Said
    }

    const issue = async (...args: string[]) => {
      const { mirror, newHome } = scene()
      const made = await run(process.execPath, [CLI, 'token', 'create', ...args], {
        home: await newHome(),
        env: { HUBMIRROR_CACHE_DIR: `${mirror.cacheDir}/store` },
      })
      expect(made.status, made.stderr).toBe(0)
      return made.stdout.trim()
    }

    const digest = (name: string) => {
      const repo = scene().hub.world.find('models', `acme/${name}`)?.repo
      if (repo === undefined) throw new Error(`no acme/${name}`)
      return createHash('sha256')
        .update(bytesOf(repo, 'main', 'config.json'))
        .digest('hex')
    }

    /** The tokens that have reached the Hub. */
    const credentials = () => {
      const { hub } = scene()
      const sent = hub.ledger.requests().map((entry) => hub.ledger.credential(entry))
      return new Set(sent.filter((token) => token !== undefined))
    }

    it.each<readonly [string, Readonly<Record<string, string>>, readonly string[]]>([
      ['HF_TOKEN, as KServe and vLLM set it', { HF_TOKEN: TOKENS.alice }, []],
      ['HUGGING_FACE_HUB_TOKEN', { HUGGING_FACE_HUB_TOKEN: TOKENS.alice }, []],
      [
        'HF_API_TOKEN through the launcher of LoRAX',
        { HF_API_TOKEN: TOKENS.alice },
        [scriptPath('launcher.py')],
      ],
    ])("a user's own token from %s opens what is private to them", async (_how, env, launcher) => {
      const said = await ask('secret', env, launcher)
      expect(said).toEqual({
        file: { got: digest('secret') },
        info: { got: 'acme/secret' },
        whoami: { got: 'alice' },
      })
      expect(credentials()).toEqual(new Set([TOKENS.alice]))
    })

    it('HF_API_TOKEN alone is read by no client, and the mirror lends its own to no caller', async () => {
      const said = await ask('secret', { HF_API_TOKEN: TOKENS.alice })
      expect([said.file.raised, said.info.raised]).toEqual([
        'RepositoryNotFoundError',
        'RepositoryNotFoundError',
      ])
      expect(credentials()).toEqual(new Set())
      expect(scene().mirror.log()).toContain('HF_API_TOKEN is used as HUBMIRROR_TOKEN')
    })

    it('a mirror token as HF_TOKEN reads what is public, has a name, and never leaves the mirror', async () => {
      const said = await ask('tiny', { HF_TOKEN: await issue('alice-laptop') })
      expect(said).toEqual({
        file: { got: digest('tiny') },
        info: { got: 'acme/tiny' },
        whoami: { got: 'alice-laptop' },
      })
      expect(credentials()).toEqual(new Set())
    })

    it('a mirror token to which a policy lends a Hub token opens private repos, and does not have the name of its owner', async () => {
      const said = await ask('secret', { HF_TOKEN: await issue('team-laptop') })
      expect(said).toEqual({
        file: { got: digest('secret') },
        info: { got: 'acme/secret' },
        whoami: { got: 'team-laptop' },
      })
      expect(credentials()).toEqual(new Set([TOKENS.alice]))
      const other = await ask('secret', { HF_TOKEN: await issue('guest') })
      expect([other.file.raised, other.info.raised]).toEqual([
        'RepositoryNotFoundError',
        'RepositoryNotFoundError',
      ])
    })

    // One client is enough: the answers are those of public repos.
    it.runIf(client === 'hub-2')(
      'a mirror token that a rule names reads a private repo from a mirror that is offline, and no other does',
      async () => {
        const [named, other] = [await issue('team-ci'), await issue('visitor')]
        onTestFinished(() => scene().restartMirror({}))
        await scene().restartMirror({ HUBMIRROR_CONFIG: SERVING })
        const online = await ask('secret', { HF_TOKEN: named })
        expect(online.file).toEqual({ got: digest('secret') })
        await scene().restartMirror({ HUBMIRROR_CONFIG: SERVING, HUBMIRROR_OFFLINE: 'on' })
        scene().hub.ledger.clear()
        expect(await ask('secret', { HF_TOKEN: named })).toEqual(online)
        const said = await ask('secret', { HF_TOKEN: other })
        expect([said.file.raised, said.info.raised]).toEqual([
          'RepositoryNotFoundError',
          'RepositoryNotFoundError',
        ])
        expect(scene().hub.ledger.requests()).toEqual([])
      },
    )

    it('a mirror token that opens nothing shows its user the reason, in each call', async () => {
      const narrow = await issue('narrow', '--repo', 'corp/*')
      const unknown = createMirrorToken()
      for (const [token, reason] of [
        [unknown, 'is unknown here: it belongs to another mirror'],
        [unknown.slice(0, -1), 'its checksum is wrong'],
        [narrow, "'narrow' is not valid for models/acme/tiny"],
      ] as const) {
        const said = await ask('tiny', { HF_TOKEN: token })
        for (const call of ['file', 'info'] as const) {
          expect(said[call]).toEqual({ raised: 'GatedRepoError', message: expect.stringContaining(reason) })
        }
        // Here the client has words of its own for every 401.
        if (token !== narrow) expect(said.whoami.message).toContain('Invalid user token')
        expect(JSON.stringify(said).includes(token)).toBe(false)
      }
      expect(scene().hub.ledger.requests({ url: 'acme/tiny' })).toEqual([])
    })

    it('a token that was set with Bearer before it shows its user that Bearer stands twice', async () => {
      const said = await ask('tiny', { HF_TOKEN: `Bearer ${await issue('doubled')}` })
      for (const call of ['file', 'info'] as const) {
        expect(said[call]).toEqual({
          raised: 'GatedRepoError',
          message: expect.stringContaining('says Bearer twice'),
        })
      }
      expect(scene().hub.ledger.requests({ url: 'acme/tiny' })).toEqual([])
    })
  })
}
