// Git and git-lfs as people use them: clone, fetch and push through the mirror, with the credentials that each kind of repo needs.

import { createHash } from 'node:crypto'
import { appendFileSync, rmSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, expect, it } from 'vitest'
import { lfs, sha256Of, type World } from '../hub-simulator/repos.ts'
import { ask, type Reply } from '../support/ask.ts'
import { whenStored } from '../support/git-client.ts'
import { gitUser, withUser } from './support/git.ts'
import { lentToTeam } from './support/lent-to-team.ts'
import { run } from './support/run.ts'
import { expectManners, useScene } from './support/scene.ts'
import { describeClient } from './support/tools.ts'
import { clientWorld, TOKENS } from './support/world.ts'

const CLI = fileURLToPath(new URL('../../dist/cli.js', import.meta.url))
const WRITER = `hf_${'writerwriter'.repeat(4).slice(0, 34)}`
const ATTRIBUTES = '*.safetensors filter=lfs diff=lfs merge=lfs -text\n*.bin filter=lfs -text\n'
const SIZE_BYTES = 300_000

const { scratch, config: CONFIG } = lentToTeam()
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

/** One request to a whole URL. */
function askAt(url: string, token?: string): Promise<Reply> {
  const { origin, pathname } = new URL(url)
  return ask(origin, pathname, { token })
}

function gitWorld(): World {
  const world = clientWorld().addUser('writer', { token: WRITER, role: 'write' })
  const files = { '.gitattributes': ATTRIBUTES, 'config.json': '{}\n' }
  const model = world.model('acme/git')
  model.commit({ ...files, 'model.safetensors': lfs({ sizeBytes: SIZE_BYTES, seed: 41 }) })
  model.commit({ 'config.json': '{"v":2}\n' })
  world
    .model('acme/closed')
    .private(['alice'])
    .commit({ ...files, 'model.safetensors': lfs({ sizeBytes: SIZE_BYTES, seed: 42 }) })
  world.model('writer/own').commit(files)
  return world
}

describeClient('git and git-lfs', ['git', 'git-lfs'], () => {
  const scene = useScene(gitWorld, { env: { HUBMIRROR_CONFIG: CONFIG, HUBMIRROR_REF_TTL: '0s' } })

  /** A user of git, in a home of its own. */
  async function openGit() {
    const user = await gitUser(await scene().newHome())
    const digestOf = async (path: string): Promise<string> =>
      createHash('sha256')
        .update(await readFile(join(user.home, path)))
        .digest('hex')
    return { ...user, digestOf }
  }

  const urlOf = (id: string, user = ''): string => `${withUser(scene().mirror.url, user)}/${id}`
  const digest = (id: string): string => sha256Of(scene().hub.world.model(id), 'main', 'model.safetensors')

  it('clone a public repo, and the bytes of its large file come from the Hub once for git-lfs and for resolve', async () => {
    const { hub, mirror } = scene()
    const { ok, digestOf, home, git } = await openGit()
    await ok(['clone', '--quiet', urlOf('acme/git'), 'full'])
    expect(await digestOf('full/model.safetensors')).toBe(digest('acme/git'))
    const curl = ['-fsS', '-o', 'resolved', `${mirror.url}/acme/git/resolve/main/model.safetensors`]
    expect((await run('curl', curl, { home })).status).toBe(0)
    expect(await digestOf('resolved')).toBe(digest('acme/git'))
    await ok(['clone', '--quiet', '--depth', '1', urlOf('acme/git.git'), 'shallow'])
    expect(await ok(['rev-list', '--count', 'HEAD'], 'shallow')).toBe('1')
    await ok(['clone', '--quiet', '--filter=blob:none', urlOf('acme/git'), 'partial'])
    expect(await digestOf('partial/model.safetensors')).toBe(digest('acme/git'))
    // One byte revealed the size.
    expect(hub.ledger.bytes('cdn')).toBe(SIZE_BYTES + 1)
    const next = hub.world.model('acme/git').commit({ 'config.json': '{"v":3}\n' })
    await ok(['pull', '--quiet'], 'full')
    expect(await ok(['rev-parse', 'HEAD'], 'full')).toBe(next)
    const locks = await git(['lfs', 'locks'], 'full')
    expect(locks.status, locks.stderr).not.toBe(0)
    expectManners(hub)
  })

  it('clone a private repo with a token, by URL or by a helper, or with a mirror token as the password', async () => {
    const { hub, mirror } = scene()
    const { ok, git, digestOf, home } = await openGit()
    expect((await git(['clone', '--quiet', urlOf('acme/closed'), 'none'])).stderr).toContain(
      'could not read Username',
    )
    const wrong = await git(['clone', '--quiet', urlOf('acme/closed', `bob:${TOKENS.bob}@`), 'wrong'])
    expect(wrong.status).toBe(128)
    await ok(['clone', '--quiet', urlOf('acme/closed', `alice:${TOKENS.alice}@`), 'by-url'])
    expect(await digestOf('by-url/model.safetensors')).toBe(digest('acme/closed'))

    const env = { HUBMIRROR_CACHE_DIR: `${mirror.cacheDir}/store` }
    const made = await run(process.execPath, [CLI, 'token', 'create', 'team-a'], { home, env })
    const token = made.stdout.trim()
    const { origin } = new URL(mirror.url)
    for (const [name, line] of [
      ['by-helper', `${withUser(origin, `alice:${TOKENS.alice}@`)}\n`],
      ['by-mirror-token', `${withUser(origin, `any:${token}@`)}\n`],
    ] as const) {
      await ok(['config', '--global', 'credential.helper', `store --file=${join(home, name)}.list`])
      appendFileSync(join(home, `${name}.list`), line)
      await ok(['clone', '--quiet', urlOf('acme/closed'), name])
      expect(await digestOf(`${name}/model.safetensors`)).toBe(digest('acme/closed'))
    }
    expect(JSON.stringify(hub.ledger.requests())).not.toContain(token)
    expectManners(hub)
  })

  it('push a large file, and the Hub has the commit', async () => {
    const { hub } = scene()
    const { ok, git, home } = await openGit()
    await ok(['clone', '--quiet', urlOf('writer/own', `writer:${WRITER}@`), 'own'])
    const bytes = Buffer.alloc(200_000, 'pushed by git. ')
    await writeFile(join(home, 'own/large.bin'), bytes)
    await ok(['add', '.'], 'own')
    await ok(['commit', '--quiet', '--message', 'large'], 'own')
    const pushed = await git(['push', '--quiet', 'origin', 'main'], 'own')
    expect(pushed.status, pushed.stderr).toBe(0)
    const head = hub.world.model('writer/own').resolve('main')
    expect(head?.id).toBe(await ok(['rev-parse', 'HEAD'], 'own'))
    expect(head?.files.get('large.bin')?.lfs?.sha256).toBe(createHash('sha256').update(bytes).digest('hex'))
    const read = await askAt(urlOf('writer/own/resolve/main/large.bin'))
    expect(read.body.equals(bytes)).toBe(true)
    // The Hub has no locks, and the mirror says the same of them.
    const [verified] = hub.ledger.requests({ method: 'POST', url: '/info/lfs/locks/verify' })
    expect(verified?.status).toBe(404)
    const [own, direct] = await Promise.all(
      [urlOf('writer/own'), `${hub.url}/writer/own`].map(async (base) => {
        const answer = await askAt(`${base}.git/info/lfs/locks`, WRITER)
        return [answer.status, answer.headers['content-type'], answer.body.toString()]
      }),
    )
    expect(own).toEqual(direct)
  })

  it('clone again while the Hub is away, with the large files that are stored', async () => {
    const { hub, mirror, restartMirror } = scene()
    const { ok, digestOf, git } = await openGit()
    await ok(['clone', '--quiet', urlOf('acme/git'), 'first'])
    await whenStored(join(mirror.cacheDir, 'store'))
    await hub.stop()
    await ok(['clone', '--quiet', '--depth', '1', urlOf('acme/git'), 'away'])
    await restartMirror({ HUBMIRROR_OFFLINE: 'on' })
    await ok(['clone', '--quiet', urlOf('acme/git'), 'offline'])
    for (const folder of ['first', 'away', 'offline'])
      expect(await digestOf(`${folder}/model.safetensors`)).toBe(digest('acme/git'))
    const refused = await git(['clone', '--quiet', urlOf('acme/bert'), 'unknown'])
    expect(refused.stderr).toContain('remote: This mirror is offline by configuration')
  })
})
