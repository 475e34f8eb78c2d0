// Which client reads, through a mirror that is offline, what another one has downloaded: each downloader fills a store of its own,
// and then every reader reads the same repo from it, without a request to the Hub.

import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { lfs, type World } from '../hub-simulator/repos.ts'
import { whenStored } from '../support/git-client.ts'
import { run } from '../support/run-cli.ts'
import { gitUser } from './support/git.ts'
import { python } from './support/python.ts'
import { runForJson } from './support/run.ts'
import { digestsOf, expectManners, type Scene, useScene } from './support/scene.ts'
import { describeClient, nodeClients, pythonOf, scriptPath } from './support/tools.ts'
import { clientWorld } from './support/world.ts'

const ID = 'acme/pairs'
const ONLY_LOCALHOST = fileURLToPath(new URL('./scripts/only-localhost.mjs', import.meta.url))

function pairsWorld(): World {
  const world = clientWorld()
  const model = world.model(ID)
  model.commit({ 'config.json': '{}\n' })
  model.commit({
    '.gitattributes': '*.bin filter=lfs -text\n',
    'README.md': '# pairs\n',
    'config.json': '{"v":2}\n',
    'large.bin': lfs({ sizeBytes: 300_000, seed: 51 }),
    'nested/deeper/vocab.txt': 'one\ntwo\n',
    'nested/second.bin': lfs({ sizeBytes: 30_000, seed: 52 }),
  })
  return world
}

/** Reads the whole repo. Resolves with the sha256 of each file, by its path. */
type Read = (scene: Scene) => Promise<unknown>

const readByPython =
  (client: string): Read =>
  async (scene) =>
    ((await python(scene, client, 'snapshot.py', [ID])) as { readonly files: unknown }).files

const readByNode =
  (client: string): Read =>
  async ({ mirror, newHome }) =>
    runForJson(
      process.execPath,
      ['--import', ONLY_LOCALHOST, scriptPath('pair.mjs'), client, mirror.url, ID],
      {
        home: await newHome(),
        cwd: nodeClients,
      },
    )

const readByGit: Read = async ({ mirror, newHome }) => {
  const { ok, home } = await gitUser(await newHome())
  await ok(['clone', '--quiet', `${mirror.url}/${ID}`, 'clone'])
  const folder = join(home, 'clone')
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  const paths = entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
    .filter((path) => !path.startsWith('.git/'))
  const found = paths.map(async (path) => {
    const bytes = await readFile(join(folder, path))
    return [path, createHash('sha256').update(bytes).digest('hex')]
  })
  return Object.fromEntries(await Promise.all(found))
}

/** Reads nothing itself: the mirror has the files then. */
const prefetch: Read = async ({ hub, mirror }) => {
  const { status } = await run(['prefetch', ID], { HUBMIRROR_CACHE_DIR: join(mirror.cacheDir, 'store') })
  return status === 0 && digestsOf(hub.world, ID)
}

const CLIENTS: Readonly<Record<string, Read>> = {
  'huggingface_hub 2': readByPython('hub-2'),
  'huggingface_hub 0.36': readByPython('hub-0'),
  '@huggingface/hub': readByNode('huggingface.js'),
  'hf-hub (its requests)': readByNode('hf-hub'),
  'git and git-lfs': readByGit,
}

const NEEDS = [
  pythonOf('hub-2'),
  pythonOf('hub-0'),
  join(nodeClients, 'node_modules/@huggingface/hub'),
  'git-lfs',
]

describeClient('after one download, offline,', NEEDS, () => {
  const scene = useScene(pairsWorld, { env: { HUBMIRROR_GIT_CLONES: 'all' } })

  it.each(Object.entries({ ...CLIENTS, 'hubmirror prefetch': prefetch }))(
    'by %s, every client reads the repo',
    async (_name, download) => {
      const { hub, mirror, restartMirror } = scene()
      const right = digestsOf(hub.world, ID)
      expect(await download(scene())).toEqual(right)
      await whenStored(join(mirror.cacheDir, 'store'))
      await restartMirror({ HUBMIRROR_OFFLINE: 'on' })
      hub.ledger.clear()
      for (const [name, read] of Object.entries(CLIENTS))
        expect([name, await read(scene())]).toEqual([name, right])
      expect(hub.ledger.requests()).toEqual([])
      expectManners(hub)
    },
  )
})

describeClient('by default, a repo that was only downloaded', [pythonOf('hub-2'), 'git-lfs'], () => {
  const scene = useScene(pairsWorld)

  it('cannot be cloned offline, and git says why', async () => {
    const { mirror, restartMirror, newHome } = scene()
    await python(scene(), 'hub-2', 'snapshot.py', [ID])
    await restartMirror({ HUBMIRROR_OFFLINE: 'on' })
    const { git } = await gitUser(await newHome())
    const { status, stderr } = await git(['clone', '--quiet', `${mirror.url}/${ID}`, 'clone'])
    expect([status, stderr]).toEqual([
      128,
      expect.stringContaining('no client has cloned it through this mirror'),
    ])
  })
})
