// A mirror that takes no writes says so in one sentence, whichever client tries.

import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { withUser } from './support/git.ts'
import { hubEnvironment, pythonForJson } from './support/python.ts'
import { type Finished, run, runForJson } from './support/run.ts'
import { type Scene, useScene } from './support/scene.ts'
import { commandOf, describeClient, nodeClients, pythonOf, scriptPath } from './support/tools.ts'
import { clientWorld, TOKENS } from './support/world.ts'

const SENTENCE =
  'This mirror is read-only. Upload or push to the Hub directly (without HF_ENDPOINT), or ask the operator.'
const ONLY_LOCALHOST = fileURLToPath(new URL('./scripts/only-localhost.mjs', import.meta.url))
const READ_ONLY = { env: { HUBMIRROR_WRITES: 'deny' } }

/** That the client has printed the sentence, and no write has reached the Hub. */
function expectRefused({ hub }: Scene, said: string): void {
  expect(said.replaceAll(/\s+/g, ' ')).toContain(SENTENCE)
  // Git reads by POST.
  const isRead = (method: string, url: string): boolean =>
    method === 'GET' || method === 'HEAD' || url.endsWith('/git-upload-pack')
  const writes = hub.ledger.requests(({ method, url }) => !isRead(method, url))
  expect([writes, hub.ledger.requests({ url: /git-receive-pack|xet-write-token/ })]).toEqual([[], []])
}

async function homeWithFile(scene: Scene): Promise<{ readonly home: string; readonly path: string }> {
  const home = await scene.newHome()
  const path = join(home, 'large.bin')
  await writeFile(path, 'some bytes')
  return { home, path }
}

for (const client of ['hub-2', 'hub-1', 'hub-0']) {
  describeClient(`huggingface_hub at a read-only mirror (${client})`, [pythonOf(client)], () => {
    const scene = useScene(clientWorld, READ_ONLY)

    it('says why, whatever is tried', async () => {
      const { home, path } = await homeWithFile(scene())
      const env = hubEnvironment(scene(), { token: TOKENS.alice })
      const args = [scriptPath('denied.py'), 'acme/tiny', path]
      const said = (await pythonForJson(client, args, { home, env })) as Record<string, string>
      expect(Object.keys(said).length).toBe(6)
      for (const [write, text] of Object.entries(said)) expectRefused(scene(), `${write}: ${text}`)
    })
  })
}

for (const client of ['hub-2', 'hub-1']) {
  describeClient(`hf at a read-only mirror (${client})`, [commandOf(client, 'hf')], () => {
    const scene = useScene(clientWorld, READ_ONLY)

    it('upload: says why', async () => {
      const { home, path } = await homeWithFile(scene())
      const env = hubEnvironment(scene(), { token: TOKENS.alice })
      const failed = await run(commandOf(client, 'hf'), ['upload', 'acme/tiny', path], { home, env })
      expect(failed.status).toBe(1)
      expectRefused(scene(), failed.stdout + failed.stderr)
    })
  })
}

describeClient(
  '@huggingface/hub at a read-only mirror',
  [join(nodeClients, 'node_modules/@huggingface/hub')],
  () => {
    const scene = useScene(clientWorld, READ_ONLY)

    it('upload: says why', async () => {
      const { home, path } = await homeWithFile(scene())
      const { url } = scene().mirror
      const args = ['--import', ONLY_LOCALHOST, scriptPath('hub.mjs'), 'upload', url, 'acme/tiny', path]
      const said = await runForJson(process.execPath, args, {
        home,
        cwd: nodeClients,
        env: { HF_TOKEN: TOKENS.alice },
      })
      expect(said).toMatchObject({ status: 403 })
      expectRefused(scene(), JSON.stringify(said))
    })
  },
)

describeClient('git at a read-only mirror', ['git', 'git-lfs'], () => {
  const scene = useScene(clientWorld, READ_ONLY)

  async function openGit() {
    const home = await scene().newHome()
    const env = { GIT_CONFIG_NOSYSTEM: '1', GIT_TERMINAL_PROMPT: '0' }
    const git = (...args: string[]): Promise<Finished> => run('git', args, { home, env })
    await git('init', '-q', '-b', 'main')
    await git('config', 'user.name', 'somebody')
    await git('config', 'user.email', 'somebody@example.org')
    await git(
      'remote',
      'add',
      'origin',
      `${withUser(scene().mirror.url, `alice:${TOKENS.alice}@`)}/acme/tiny.git`,
    )
    return { home, git }
  }

  it('push: says why, behind remote:', async () => {
    const { home, git } = await openGit()
    await writeFile(join(home, 'x.txt'), 'x')
    await git('add', '.')
    await git('commit', '-q', '-m', 'x')
    const pushed = await git('push', 'origin', 'main')
    expect([pushed.status, pushed.stderr]).toEqual([128, expect.stringContaining(`remote: ${SENTENCE}`)])
    expectRefused(scene(), pushed.stderr)
  })

  it('lfs push: says why', async () => {
    const { home, git } = await openGit()
    await git('lfs', 'install', '--local', '--skip-smudge')
    await writeFile(join(home, '.gitattributes'), '*.bin filter=lfs -text\n')
    await writeFile(join(home, 'large.bin'), 'some bytes')
    await git('add', '.')
    await git('commit', '-q', '-m', 'x')
    const pushed = await git('lfs', 'push', '--all', 'origin', 'main')
    expect(pushed.status).not.toBe(0)
    expectRefused(scene(), pushed.stdout + pushed.stderr)
  })
})
