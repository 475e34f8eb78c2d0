// Which client reads, through a mirror that is offline, what another one has downloaded: each downloader has read a repo of its
// own, and then every reader reads each of them from the store, without a request to the Hub.

import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { lfs, type World } from '../hub-simulator/repos.ts'
import { whenStored } from '../support/git-client.ts'
import { run as runMirror } from '../support/run-cli.ts'
import { gitUser } from './support/git.ts'
import { isLeftOut, needsTrust } from './support/place.ts'
import { python } from './support/python.ts'
import { run, runForJson } from './support/run.ts'
import { commitOf, digestsOf, expectManners, type Scene, useScene, useSharedScene } from './support/scene.ts'
import { describeClient, isThere, nodeClients, pythonOf, rustClients, scriptPath } from './support/tools.ts'
import { clientWorld } from './support/world.ts'

const ONLY_LOCALHOST = fileURLToPath(new URL('./scripts/only-localhost.mjs', import.meta.url))

/** A repo for each downloader, none of which has a file in common with another one. */
function pairsWorld(): World {
  const world = clientWorld()
  for (const [index, id] of Object.keys(DOWNLOADERS).map(idOf).entries()) {
    const model = world.model(id)
    model.commit({ 'config.json': '{}\n' })
    model.commit({
      '.gitattributes': `*.bin filter=lfs -text\n# ${id}\n`,
      'README.md': `# ${id}\n`,
      'config.json': `{"v":"${id}"}\n`,
      'large.bin': lfs({ sizeBytes: 300_000, seed: 500 + index }),
      'nested/deeper/vocab.txt': `one\n${id}\n`,
      'nested/second.bin': lfs({ sizeBytes: 30_000, seed: 600 + index }),
    })
  }
  return world
}

/** The repo that the downloader of this name downloads. */
function idOf(name: string): string {
  return `acme/pairs-${name.replaceAll(/[^a-z0-9.]+/g, '-').replaceAll(/^-|-$/g, '')}`
}

/** A repo for each of TAG_DOWNLOADERS, whose tag `v1` has other files than `main`. */
function tagsWorld(): World {
  const world = clientWorld()
  for (const [index, id] of TAG_DOWNLOADERS.map(idOf).entries()) {
    const model = world.model(id)
    const first = model.commit({
      '.gitattributes': `*.bin filter=lfs -text\n# ${id}\n`,
      'config.json': `{"v1":"${id}"}\n`,
      'nested/large.bin': lfs({ sizeBytes: 300_000, seed: 700 + index }),
    })
    model.tag('v1', first)
    model.commit({
      'config.json': `{"v2":"${id}"}\n`,
      'nested/large.bin': lfs({ sizeBytes: 300_000, seed: 800 + index }),
    })
  }
  return world
}

/** Reads the whole repo, at `main` unless a revision is given. Resolves with the sha256 of each file, by its path. */
type Read = (scene: Scene, id: string, revision?: string) => Promise<unknown>

const readByPython =
  (client: string): Read =>
  async (scene, id, revision) => {
    const args = revision === undefined ? [id] : [id, revision]
    return ((await python(scene, client, 'snapshot.py', args)) as { readonly files: unknown }).files
  }

const readByNode =
  (client: string): Read =>
  async ({ mirror, newHome }, id, revision = 'main') =>
    runForJson(
      process.execPath,
      ['--import', ONLY_LOCALHOST, scriptPath('pair.mjs'), client, mirror.url, id, revision],
      {
        home: await newHome(),
        cwd: nodeClients,
      },
    )

const readByGit: Read = async ({ mirror, newHome }, id, revision = 'main') => {
  const { ok, home } = await gitUser(await newHome())
  await ok(['clone', '--quiet', '--no-checkout', `${mirror.url}/${id}`, 'clone'])
  await ok(['checkout', '--quiet', revision], 'clone')
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
const prefetch: Read = async ({ hub, mirror }, id) => {
  const settings = { HUBMIRROR_CACHE_DIR: join(mirror.cacheDir, 'store') }
  const { status } = await runMirror(['prefetch', id], settings)
  return status === 0 && digestsOf(hub.world, id)
}

const readByRust =
  (generation: string): Read =>
  async ({ mirror, newHome }, id) => {
    const { status, stdout, stderr } = await run(rustClients, [generation, 'snapshot', id], {
      home: await newHome(),
      env: { HF_ENDPOINT: mirror.url },
    })
    if (status !== 0) throw new Error(`hf-hub ended with ${status}:\n${stdout}${stderr}`)
    // A digest, and the path in a snapshot of the cache.
    const lines = stdout.matchAll(/^(?<digest>[0-9a-f]{64}) .*\/snapshots\/[0-9a-f]{40}\/(?<path>.*)$/gm)
    return Object.fromEntries([...lines].map(({ groups }) => [groups?.['path'], groups?.['digest']]))
  }

const isRustThere = isThere(rustClients)
// Version 0.5 trusts the authorities that are built into it, and no others.
const hasRust = isRustThere && !needsTrust
if (isRustThere && needsTrust)
  isLeftOut('hf-hub 0.5', 'it trusts the authorities that are built into it only')
if (!isRustThere)
  console.warn('SKIPPED hf-hub itself, whose requests are played instead: run test/clients/setup.sh --all')

const CLIENTS: Readonly<Record<string, Read>> = {
  'huggingface_hub 2': readByPython('hub-2'),
  'huggingface_hub 0.36': readByPython('hub-0'),
  '@huggingface/hub': readByNode('huggingface.js'),
  ...(hasRust
    ? { 'hf-hub 0.5': readByRust('0.5'), 'hf-hub 1': readByRust('1') }
    : { 'hf-hub (its requests)': readByNode('hf-hub'), ...(isRustThere && { 'hf-hub 1': readByRust('1') }) }),
  'git and git-lfs': readByGit,
}

const DOWNLOADERS = { ...CLIENTS, 'hubmirror prefetch': prefetch }

/** Those that can be asked for a revision here. */
const TAG_CLIENTS: Readonly<Record<string, Read>> = {
  'huggingface_hub 2': readByPython('hub-2'),
  'huggingface_hub 0.36': readByPython('hub-0'),
  '@huggingface/hub': readByNode('huggingface.js'),
  'hf-hub (its requests)': readByNode('hf-hub'),
  'git and git-lfs': readByGit,
}
const TAG_DOWNLOADERS = Object.keys(TAG_CLIENTS)

const NEEDS = [
  pythonOf('hub-2'),
  pythonOf('hub-0'),
  join(nodeClients, 'node_modules/@huggingface/hub'),
  'git-lfs',
]

describeClient('after one download, offline,', NEEDS, () => {
  const scene = useSharedScene(pairsWorld, { env: { HUBMIRROR_GIT_CLONES: 'all' } })
  const right = (name: string) => digestsOf(scene().hub.world, idOf(name))

  it('every downloader has its repo', async () => {
    const { mirror, restartMirror } = scene()
    for (const [name, download] of Object.entries(DOWNLOADERS))
      expect([name, await download(scene(), idOf(name))]).toEqual([name, right(name)])
    await whenStored(join(mirror.cacheDir, 'store'), Object.keys(DOWNLOADERS).length)
    expectManners(scene().hub)
    await restartMirror({ HUBMIRROR_OFFLINE: 'on' })
  })

  it.each(Object.keys(DOWNLOADERS))(
    'every client reads the repo that %s has downloaded',
    async (downloader) => {
      for (const [name, read] of Object.entries(CLIENTS))
        expect([name, await read(scene(), idOf(downloader))]).toEqual([name, right(downloader)])
      expect(scene().hub.ledger.requests()).toEqual([])
    },
  )
})

describeClient('after one download by tag, offline,', NEEDS, () => {
  const scene = useSharedScene(tagsWorld, { env: { HUBMIRROR_GIT_CLONES: 'all' } })
  const right = (name: string) => digestsOf(scene().hub.world, idOf(name), { revision: 'v1' })

  it('every downloader has the files of the tag', async () => {
    const { mirror, restartMirror } = scene()
    for (const name of TAG_DOWNLOADERS)
      expect([name, await TAG_CLIENTS[name]?.(scene(), idOf(name), 'v1')]).toEqual([name, right(name)])
    await whenStored(join(mirror.cacheDir, 'store'), TAG_DOWNLOADERS.length)
    await restartMirror({ HUBMIRROR_OFFLINE: 'on' })
  })

  it.each(TAG_DOWNLOADERS)('every client reads by tag and by commit what %s has downloaded', async (name) => {
    const id = idOf(name)
    for (const revision of ['v1', commitOf(scene().hub.world, id, 'v1')])
      for (const [reader, read] of Object.entries(TAG_CLIENTS))
        expect([reader, revision, await read(scene(), id, revision)]).toEqual([reader, revision, right(name)])
    expect(scene().hub.ledger.requests()).toEqual([])
  })
})

describeClient('by default, a repo that was only downloaded', [pythonOf('hub-2'), 'git-lfs'], () => {
  const scene = useScene(clientWorld)

  it('cannot be cloned offline, and git says why', async () => {
    const { mirror, restartMirror, newHome } = scene()
    await python(scene(), 'hub-2', 'snapshot.py', ['acme/tiny'])
    await restartMirror({ HUBMIRROR_OFFLINE: 'on' })
    const { git } = await gitUser(await newHome())
    const { status, stderr } = await git(['clone', '--quiet', `${mirror.url}/acme/tiny`, 'clone'])
    expect([status, stderr]).toEqual([
      128,
      expect.stringContaining('no client has cloned it through this mirror'),
    ])
  })
})
