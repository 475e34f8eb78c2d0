// Large uploads, and Git LFS, by clients that can reach the mirror only.

import { createHash } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import type { World } from '../hub-simulator/repos.ts'
import { withUser } from './support/git.ts'
import { PLACE } from './support/place.ts'
import { hubEnvironment, python, pythonForJson } from './support/python.ts'
import { type Finished, run, runForJson } from './support/run.ts'
import { expectManners, type Scene, useScene } from './support/scene.ts'
import { commandOf, describeClient, nodeClients, pythonOf, scriptPath } from './support/tools.ts'
import { clientWorld, TOKENS } from './support/world.ts'

const ONLY_LOCALHOST = fileURLToPath(new URL('./scripts/only-localhost.mjs', import.meta.url))
const WRITER = `hf_${'writerwriter'.repeat(4).slice(0, 34)}`
const PART_BYTES = 5_000_000
const LARGE = Buffer.alloc(12_000_000, 'what is uploaded. ')
const LARGE_SHA256 = createHash('sha256').update(LARGE).digest('hex')

function uploadWorld(): World {
  return clientWorld().addUser('writer', { token: WRITER, role: 'write' })
}

async function homeWithFile(scene: Scene): Promise<{ readonly home: string; readonly path: string }> {
  const home = await scene.newHome()
  const path = join(home, 'large.bin')
  await writeFile(path, LARGE)
  return { home, path }
}

/** That the object reached storage, and by the mirror alone. */
function expectStored({ hub }: Scene, id: string): void {
  const file = hub.world.find('models', id)?.repo.resolve('main')?.files.get('large.bin')
  expect(file?.lfs?.sha256).toBe(LARGE_SHA256)
  const puts = hub.ledger.requests({ server: 'cdn', method: 'PUT' })
  expect(puts.length).toBeGreaterThan(0)
  for (const { headers } of puts)
    expect([headers.authorization, headers.via?.includes('hubmirror')]).toEqual([undefined, true])
}

const WITHOUT_XET = { HF_HUB_DISABLE_XET: '1' }

for (const [client, env] of [
  // Offers Xet in its LFS batch, and does as the answer says.
  ['hub-0', {}],
  ['hub-1', WITHOUT_XET],
  ['hub-2', WITHOUT_XET],
] as const) {
  describeClient(`uploads (${client})`, [pythonOf(client)], () => {
    const scene = useScene(uploadWorld, { hub: { partBytes: PART_BYTES } })

    it('creates a repo, uploads in parts, commits, and opens a pull request', async () => {
      const { home, path } = await homeWithFile(scene())
      const said = await pythonForJson(client, [scriptPath('upload.py'), 'writer/new', path], {
        home,
        env: { ...hubEnvironment(scene(), { token: WRITER }), ...env },
      })
      const head = scene().hub.world.find('models', 'writer/new')?.repo.resolve('main')
      expect(said).toEqual({ repo: 'writer/new', commit: ['writer/new', head?.id], 'pull request': 1 })
      expectStored(scene(), 'writer/new')
      expect(scene().hub.ledger.requests({ url: '/api/complete_multipart' }).length).toBe(1)
    })

    it('commits large and small files together, and reads every commit at once and from the store', async () => {
      const { home, path } = await homeWithFile(scene())
      const said = await pythonForJson(client, [scriptPath('commit.py'), 'writer/new', path], {
        home,
        env: { ...hubEnvironment(scene(), { token: WRITER }), ...env },
      })
      const other = createHash('sha256').update('other'.repeat(1_000_000)).digest('hex')
      expect(said).toEqual({
        commit: [true, LARGE_SHA256, true],
        proposal: [1, false, true, other],
        folder: [true, other],
        deletion: false,
        branch: expect.arrayContaining(['main', 'dev']),
      })
      expectStored(scene(), 'writer/new')
      expect(scene().hub.ledger.requests({ server: 'cdn', method: 'GET' })).toEqual([])
    })
  })
}

for (const client of ['hub-0', 'hub-2']) {
  describeClient(`changes of a repo (${client})`, [pythonOf(client)], () => {
    // What the mirror believes stays fresh, unless the change itself ends it.
    const scene = useScene(uploadWorld, { env: { HUBMIRROR_REF_TTL: '1h', HUBMIRROR_ACCESS_TTL: '1h' } })

    it('end what the mirror believed: branches, tags, its name, and that it exists', async () => {
      scene().hub.world.model('writer/own').commit({ 'config.json': 'one' })
      const [absent, gone] = ['RevisionNotFoundError', 'RepositoryNotFoundError']
      const said = await python(scene(), client, 'changes.py', ['writer/own', 'writer/moved'], {
        token: WRITER,
      })
      const twice = (value: unknown) => [value, value]
      expect(said).toEqual({
        before: twice(['one', absent, absent, [['main'], []]]),
        created: twice(['one', 'one', [['dev', 'main'], ['v1']]]),
        'branch moved': ['one', 'two', 'one'],
        'tag moved': ['two', 'two'],
        deleted: ['one', absent, absent, [['main'], []]],
        'new name before': [gone, gone],
        // The old name leads to the new one, as at the Hub.
        moved: twice(['one', 'writer/moved', 'one', 'writer/moved']),
        gone: twice([gone, gone, gone, gone]),
        'new under the old name': ['three', 'writer/own', gone, gone],
      })
      expectManners(scene().hub)
    })
  })
}

for (const client of ['hub-1', 'hub-2']) {
  describeClient(`uploads with hf_xet (${client})`, [commandOf(client, 'hf')], () => {
    const scene = useScene(uploadWorld)

    it('end at once, and name the setting to change', async () => {
      const { home, path } = await homeWithFile(scene())
      const args = ['upload', 'writer/new', path]
      const env = hubEnvironment(scene(), { token: WRITER })
      const failed = await run(commandOf(client, 'hf'), args, { home, env })
      expect(failed.status).toBe(1)
      expect(failed.stdout + failed.stderr).toContain('HF_HUB_DISABLE_XET=1')
      expect(scene().hub.ledger.requests({ url: /xet/ })).toEqual([])
      const done = await run(commandOf(client, 'hf'), args, { home, env: { ...env, ...WITHOUT_XET } })
      expect(done.status, done.stdout + done.stderr).toBe(0)
      expectStored(scene(), 'writer/new')
    })
  })
}

describeClient('uploads (@huggingface/hub)', [join(nodeClients, 'node_modules/@huggingface/hub')], () => {
  const scene = useScene(uploadWorld, { hub: { partBytes: PART_BYTES } })

  it('go through the mirror', async () => {
    const { home, path } = await homeWithFile(scene())
    const { url } = scene().mirror
    const args = ['--import', ONLY_LOCALHOST, scriptPath('hub.mjs'), 'upload', url, 'writer/new', path]
    const said = await runForJson(process.execPath, args, {
      home,
      cwd: nodeClients,
      env: { HF_TOKEN: WRITER },
    })
    // Below a base path an empty segment follows it.
    const base = url.replace(/\/$/, '') + (PLACE.path === '' ? '' : '/')
    expect(said).toEqual({ value: expect.stringContaining(`${base}/writer/new/commit/`) })
    expectStored(scene(), 'writer/new')
  })
})

describeClient('git-lfs through the mirror alone', ['git', 'git-lfs'], () => {
  const scene = useScene(uploadWorld)

  /** A repo whose LFS server is the mirror. */
  async function openGit(id: string, token?: string) {
    const home = await scene().newHome()
    const env = { GIT_CONFIG_NOSYSTEM: '1', GIT_TERMINAL_PROMPT: '0' }
    const git = async (...args: string[]): Promise<Finished> => {
      const finished = await run('git', args, { home, env })
      expect(finished.status, finished.stdout + finished.stderr).toBe(0)
      return finished
    }
    const user = token === undefined ? '' : `writer:${token}@`
    await git('init', '-q')
    await git('config', 'user.name', 'somebody')
    await git('config', 'user.email', 'somebody@example.org')
    await git('lfs', 'install', '--local', '--skip-smudge')
    await git('remote', 'add', 'origin', `${withUser(scene().mirror.url, user)}/${id}.git`)
    await writeFile(join(home, '.gitattributes'), '*.bin filter=lfs -text\n*.safetensors filter=lfs -text\n')
    return { home, git }
  }

  it('pushes an object, and verifies it, with the credentials for the mirror', async () => {
    const { hub } = scene()
    hub.world.model('writer/new').commit({ 'x.txt': 'x' })
    const { home, git } = await openGit('writer/new', WRITER)
    await writeFile(join(home, 'large.bin'), LARGE)
    await git('add', '.')
    await git('commit', '-q', '-m', 'large')
    await git('lfs', 'push', '--object-id', 'origin', LARGE_SHA256)
    expect(hub.world.lfsObjects.has(LARGE_SHA256)).toBe(true)
    const [verified] = hub.ledger.requests({ method: 'POST', url: '/info/lfs/objects/verify' })
    expect([verified?.status, verified?.headers.via?.includes('hubmirror')]).toEqual([200, true])
    for (const { headers } of hub.ledger.requests({ server: 'cdn' }))
      expect(headers.authorization).toBeUndefined()
  })

  it('fetches the object behind a pointer, the second time from the store', async () => {
    const { hub } = scene()
    const file = hub.world.model('acme/tiny').resolve('main')?.files.get('model.safetensors')
    for (let time = 0; time < 2; time += 1) {
      const { home, git } = await openGit('acme/tiny')
      await writeFile(join(home, 'model.safetensors'), file?.lfs?.pointer ?? '')
      await git('add', '.')
      await git('commit', '-q', '-m', 'pointer')
      await git('lfs', 'pull')
      const bytes = await readFile(join(home, 'model.safetensors'))
      expect(createHash('sha256').update(bytes).digest('hex')).toBe(file?.lfs?.sha256)
    }
    // One byte revealed the size.
    expect(hub.ledger.bytes('cdn')).toBe((file?.content.sizeBytes ?? 0) + 1)
  })

  it('fetches what is private with the credentials of its owner', async () => {
    const { hub } = scene()
    const file = hub.world.model('acme/secret').resolve('main')?.files.get('model.safetensors')
    const { home, git } = await openGit('acme/secret', TOKENS.alice)
    await writeFile(join(home, 'model.safetensors'), file?.lfs?.pointer ?? '')
    await git('add', '.')
    await git('commit', '-q', '-m', 'pointer')
    await git('lfs', 'pull')
    const bytes = await readFile(join(home, 'model.safetensors'))
    expect(createHash('sha256').update(bytes).digest('hex')).toBe(file?.lfs?.sha256)
  })
})
