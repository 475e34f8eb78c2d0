// Commands beside a mirror that was stopped (SIGSTOP): each ends, names the process, and says what is true and what to do.

import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { lfs, World } from '../hub-simulator/repos.ts'
import { startHub } from '../hub-simulator/server.ts'
import { ask } from '../support/ask.ts'
import { startChild } from '../support/process.ts'
import { run, start } from '../support/run-cli.ts'

const FILE = '/acme/open/resolve/main/w.bin'

async function openPlace() {
  const world = new World()
  world.model('acme/open').commit({ 'w.bin': lfs({ sizeBytes: 2_000_000, seed: 70 }) })
  const hub = await startHub({ world })
  onTestFinished(() => hub.close())
  const folder = await mkdtemp(join(tmpdir(), 'hubmirror-stopped-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  const [cacheDir, pins] = [join(folder, 'store'), join(folder, 'pins.yaml')]
  await writeFile(pins, 'pins: []\n')
  const env = {
    HUBMIRROR_CACHE_DIR: cacheDir,
    HUBMIRROR_CACHE_MIN_FREE: '0B',
    HUBMIRROR_ORIGIN: hub.url,
    HUBMIRROR_REDIRECT_HOSTS: '127.0.0.2',
    HUBMIRROR_PINS: pins,
  }
  const mirror = await startChild({ hub, cacheDir, env })
  onTestFinished(() => mirror.stop())
  return { hub, mirror, env, at: (name: string) => join(folder, name) }
}

it('no command waits for a stopped mirror, and the mirror serves when it goes on', async () => {
  const { mirror, env, at } = await openPlace()
  expect((await ask(mirror.url, FILE)).status).toBe(200)
  const bundle = at('open.tar')
  await run(['prefetch', 'acme/open'], env)
  expect((await run(['bundle', 'create', bundle, 'acme/open'], env)).status).toBe(0)
  expect((await run(['export', 'acme/open', at('cache')], env)).status).toBe(0)
  mirror.kill('SIGSTOP')
  const who = `the mirror (process ${mirror.pid}) has not answered for`
  const cure = `kill -CONT ${mirror.pid}`
  const said = async (...args: string[]) => {
    const { status, stdout, stderr } = await run(args, env)
    return { status, stdout, stderr }
  }
  const isSaid = (left: string) => ({
    status: 1,
    stderr: expect.stringMatching(
      new RegExp(`^hubmirror: ${escaped(who)}.*${escaped(cure)}.*${left}`),
    ) as unknown,
  })
  // What only reads the store, or keeps a file of its own, needs no mirror.
  expect(await said('ls')).toMatchObject({ status: 0, stderr: '' })
  expect(await said('verify')).toMatchObject({ status: 0 })
  expect(await said('pins')).toMatchObject(isSaid('What pins keep stays stored'))
  expect(await said('prefetch', 'acme/open')).toMatchObject(isSaid('what was fetched stays'))
  expect(await said('import', at('cache'))).toMatchObject(isSaid('what was imported stays'))
  expect(await said('bundle', 'load', bundle)).toMatchObject(isSaid('run the command again'))
  const doctor = JSON.parse((await said('doctor', '--server', '--json')).stdout) as {
    checks: { id: string; status: string; message: string }[]
  }
  expect(doctor.checks.find(({ id }) => id === 'mirror')).toMatchObject({
    status: 'fail',
    message: expect.stringContaining(who) as unknown,
  })
  expect(await said('prune', 'acme/open')).toMatchObject({
    ...isSaid('gone from the store, but the mirror was not informed'),
    stdout: expect.stringMatching(/removed [1-9]\d* blobs?/) as unknown,
  })
  mirror.kill('SIGCONT')
  expect((await ask(mirror.url, FILE)).body.length).toBe(2_000_000)
  expect(await said('pins')).toMatchObject({ status: 0 })
}, 240_000)

it('a mirror that is stopped in the middle of a prefetch ends the command', async () => {
  const { hub, mirror, env } = await openPlace()
  hub.faults.add({ where: 'cdn', stallAfterBytes: 1_000_000 })
  const command = start(['prefetch', 'acme/open'], env)
  await hub.faults.whenStalled()
  mirror.kill('SIGSTOP')
  expect(await command.done).toMatchObject({
    status: 1,
    stdout: expect.stringMatching(
      new RegExp(
        `missing: the mirror \\(process ${mirror.pid}\\).*run the command again to go on\\n +w\\.bin`,
      ),
    ) as unknown,
  })
  mirror.kill('SIGCONT')
  hub.faults.clear()
  expect(await run(['prefetch', 'acme/open'], env)).toMatchObject({ status: 0 })
}, 240_000)

function escaped(text: string): string {
  return text.replace(/[()]/g, '\\$&')
}
