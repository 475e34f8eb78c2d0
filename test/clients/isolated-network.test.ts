// Clients in a network from which only the mirror can be reached: they read public and private repos, upload, clone and push. No
// proxy keeps them from other hosts there, and none of them tries to reach one.

import { createHash } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { lfs, sha256Of, type World } from '../hub-simulator/repos.ts'
import { gitUser } from './support/git.ts'
import { type Namespace, openNamespace, whyNoNamespace } from './support/namespace.ts'
import { isAtRoot } from './support/place.ts'
import { type Finished, type RunOptions, run, runForJson } from './support/run.ts'
import { commitOf, digestsOf, expectManners, useScene } from './support/scene.ts'
import { commandOf, describeClient, nodeClients, pythonOf, scriptPath } from './support/tools.ts'
import { clientWorld, TOKENS } from './support/world.ts'

const WRITER = `hf_${'writerwriter'.repeat(4).slice(0, 34)}`
const LARGE = Buffer.alloc(12_000_000, 'what is uploaded. ')
const LARGE_SHA256 = createHash('sha256').update(LARGE).digest('hex')

function isolatedWorld(): World {
  const world = clientWorld().addUser('writer', { token: WRITER, role: 'write' })
  const files = { '.gitattributes': '*.bin filter=lfs -text\n', 'config.json': '{}\n' }
  world.model('acme/git').commit({ ...files, 'model.bin': lfs({ sizeBytes: 300_000, seed: 61 }) })
  world.model('writer/own').commit(files)
  return world
}

const TITLE = 'in a network that leads to the mirror only'
const NAME_OR_ADDRESS = 'from a namespace the mirror is reached by an address that no other place knows'
const noNamespace = isAtRoot ? await whyNoNamespace() : NAME_OR_ADDRESS
const NEEDS = ['git-lfs', 'curl', join(nodeClients, 'node_modules/@huggingface/hub')]
const PYTHONS = ['hub-0', 'hub-2'] as const

describeClient(
  TITLE,
  [...NEEDS, ...PYTHONS.map(pythonOf)],
  () => {
    let network: Namespace
    beforeAll(async () => {
      if (noNamespace === undefined) network = await openNamespace()
    })
    afterAll(async () => {
      if (noNamespace === undefined) await network.close()
    })
    const scene = useScene(isolatedWorld, {
      env: { HUBMIRROR_HOST: '0.0.0.0' },
      hub: { partBytes: 5_000_000 },
    })

    const url = (user = '') => `http://${user}${network.address}:${scene().mirror.port}`
    const placed = (command: string, args: readonly string[]) => {
      const [enter = '', ...rest] = [...network.inside, command, ...args]
      return [enter, rest] as const
    }
    /** The environment of a client of the Hub. No proxy: it would hide what a client tries to reach. */
    const environment = (token?: string) => ({
      HF_ENDPOINT: url(),
      HF_HUB_DISABLE_PROGRESS_BARS: '1',
      // Uploads ask for Xet by themselves, and the mirror has none.
      HF_HUB_DISABLE_XET: '1',
      NO_PROXY: '*',
      no_proxy: '*',
      ...(token === undefined ? {} : { HF_TOKEN: token }),
    })
    const inside = async (
      command: string,
      args: readonly string[],
      options: Partial<RunOptions> & { readonly token?: string } = {},
    ): Promise<Finished> => {
      const home = options.home ?? (await scene().newHome())
      const env = { ...environment(options.token), ...options.env }
      return run(...placed(command, args), { ...options, home, env })
    }
    const json = async (
      command: string,
      args: readonly string[],
      options: { readonly token?: string; readonly home?: string; readonly cwd?: string } = {},
    ): Promise<unknown> => {
      const home = options.home ?? (await scene().newHome())
      return runForJson(...placed(command, args), { ...options, home, env: environment(options.token) })
    }
    /** Does `act`, in the course of which nothing may try to reach anything but the mirror. */
    const withoutStraying = async (act: () => Promise<void>): Promise<void> => {
      const before = await network.strayed()
      await act()
      expect(await network.strayed(), 'packets to other places').toBe(before)
      expectManners(scene().hub)
    }
    const isolated = it.skipIf(noNamespace !== undefined)

    isolated('nothing else can be reached, and each try is counted', async () => {
      const { hub } = scene()
      expect((await inside('curl', ['-fsS', `${url()}/healthz`])).status).toBe(0)
      for (const { port } of [new URL(hub.url), new URL(hub.cdnUrl)])
        expect((await inside('curl', ['-sS', `http://${network.address}:${port}/`])).status).not.toBe(0)
      for (const address of [hub.url, hub.cdnUrl, 'http://192.0.2.1/', 'http://[2001:db8::1]/'])
        expect((await inside('curl', ['-sS', address])).status, address).not.toBe(0)
      const before = await network.strayed()
      await inside('curl', ['-sS', 'http://192.0.2.1/'])
      await inside('curl', ['-sS', 'http://[2001:db8::1]/'])
      expect(await network.strayed()).toBe(before + 2)
    })

    isolated.each(PYTHONS)(
      'huggingface_hub (%s) downloads, public and private, and uploads',
      async (client) => {
        const { hub, newHome } = scene()
        await withoutStraying(async () => {
          for (const [repo, token] of [['acme/tiny'], ['acme/secret', TOKENS.alice]] as const) {
            const files = digestsOf(hub.world, repo)
            expect(
              await json(
                pythonOf(client),
                [scriptPath('snapshot.py'), repo],
                token === undefined ? {} : { token },
              ),
            ).toEqual({ commit: commitOf(hub.world, repo), files })
          }
          const home = await newHome()
          await writeFile(join(home, 'large.bin'), LARGE)
          const args = [scriptPath('commit.py'), 'writer/new', join(home, 'large.bin')]
          const said = await json(pythonOf(client), args, { token: WRITER, home })
          expect(said).toMatchObject({
            commit: [true, LARGE_SHA256, true],
            folder: [true, expect.any(String)],
          })
        })
      },
    )

    isolated('the command line downloads and uploads', async () => {
      const { hub, newHome } = scene()
      await withoutStraying(async () => {
        const home = await newHome()
        await writeFile(join(home, 'large.bin'), LARGE)
        for (const args of [
          ['download', 'acme/secret', '--local-dir', 'here'],
          ['upload', 'writer/own', 'large.bin'],
        ]) {
          const token = args[0] === 'upload' ? WRITER : TOKENS.alice
          // By itself it asks PyPI once a day whether there is a newer version.
          const env = { HF_HUB_DISABLE_UPDATE_CHECK: '1' }
          const done = await inside(commandOf('hub-2', 'hf'), args, { home, token, env })
          expect(done.status, done.stdout + done.stderr).toBe(0)
        }
        const read = await readFile(join(home, 'here/model.safetensors'))
        expect(createHash('sha256').update(read).digest('hex')).toBe(
          digestsOf(hub.world, 'acme/secret')['model.safetensors'],
        )
        const stored = hub.world.model('writer/own').resolve('main')?.files.get('large.bin')
        expect(stored?.lfs?.sha256).toBe(LARGE_SHA256)
      })
    })

    isolated('@huggingface/hub downloads', async () => {
      const { hub } = scene()
      await withoutStraying(async () => {
        const args = [scriptPath('pair.mjs'), 'huggingface.js', url(), 'acme/git']
        expect(await json(process.execPath, args, { cwd: nodeClients })).toEqual(
          digestsOf(hub.world, 'acme/git'),
        )
      })
    })

    isolated('git and git-lfs clone and push', async () => {
      const { hub, newHome } = scene()
      await withoutStraying(async () => {
        const { ok, home } = await gitUser(await newHome(), (command, args, { env, ...options }) =>
          inside(command, args, { ...options, ...(env === undefined ? {} : { env }) }),
        )
        await ok(['clone', '--quiet', `${url()}/acme/git`, 'clone'])
        const cloned = await readFile(join(home, 'clone/model.bin'))
        expect(createHash('sha256').update(cloned).digest('hex')).toBe(
          sha256Of(hub.world.model('acme/git'), 'main', 'model.bin'),
        )
        await ok(['clone', '--quiet', `${url(`writer:${WRITER}@`)}/writer/own`, 'own'])
        await writeFile(join(home, 'own/large.bin'), LARGE)
        await ok(['add', '.'], 'own')
        await ok(['commit', '--quiet', '--message', 'large'], 'own')
        await ok(['push', '--quiet', 'origin', 'main'], 'own')
        const head = hub.world.model('writer/own').resolve('main')
        expect([head?.id, head?.files.get('large.bin')?.lfs?.sha256]).toEqual([
          await ok(['rev-parse', 'HEAD'], 'own'),
          LARGE_SHA256,
        ])
      })
    })
  },
  { onlyAtRoot: NAME_OR_ADDRESS },
)
