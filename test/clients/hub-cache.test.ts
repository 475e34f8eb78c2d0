// `hubmirror export` and `import` with the clients on both sides: they read without any network what was exported, and what they have
// downloaded themselves is imported into a mirror without the Hub.

import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { freePort } from '../support/free-port.ts'
import { run as runMirror } from '../support/run-cli.ts'
import { startMirrorProcess } from './support/mirror-process.ts'
import { hubEnvironment, python, pythonForJson } from './support/python.ts'
import { run } from './support/run.ts'
import { digestsOf, useSharedScene } from './support/scene.ts'
import { commandOf, describeClient, pythonOf, scriptPath } from './support/tools.ts'
import { clientWorld } from './support/world.ts'

const CLIENTS = ['hub-2', 'hub-1', 'hub-0', 'hub-025', 'hub-020']
const cacheOf = (home: string): string => join(home, '.cache/huggingface/hub')

describeClient('the cache directory of huggingface_hub', CLIENTS.map(pythonOf), () => {
  const scene = useSharedScene(clientWorld)
  const settings = () => ({
    HUBMIRROR_ORIGIN: scene().hub.url,
    HUBMIRROR_CACHE_DIR: join(scene().mirror.cacheDir, 'store'),
  })

  it('as exported, with links or without, is read by all versions without any network, and verified by hf', async () => {
    const { hub, mirror, newHome } = scene()
    const repos = ['acme/tiny', 'acme/odd', 'dataset/acme/data']
    const fetched = await runMirror(['prefetch', ...repos], settings())
    expect([fetched.status, fetched.stderr]).toEqual([0, expect.any(String)])
    for (const more of [[], ['--copy']]) {
      const home = await newHome()
      for (const repo of repos) {
        const made = await runMirror(['export', repo, cacheOf(home), ...more], settings())
        expect([made.status, made.stderr]).toEqual([0, ''])
      }
      for (const client of more.length === 0 ? CLIENTS : ['hub-2', 'hub-020']) {
        const env = {
          HF_ENDPOINT: 'http://localhost:9',
          HF_HUB_OFFLINE: '1',
          HF_HUB_DISABLE_PROGRESS_BARS: '1',
        }
        const read = (...args: readonly string[]) =>
          pythonForJson(client, [scriptPath('snapshot.py'), ...args], { home, env })
        expect([client, await read('acme/tiny')]).toMatchObject([
          client,
          { files: digestsOf(hub.world, 'acme/tiny') },
        ])
        expect([client, await read('acme/odd')]).toMatchObject([
          client,
          { files: digestsOf(hub.world, 'acme/odd') },
        ])
        const data = digestsOf(hub.world, 'acme/data', { type: 'datasets' })
        expect([client, await read('acme/data', 'main', 'dataset')]).toMatchObject([client, { files: data }])
      }
      for (const client of ['hub-2', 'hub-1']) {
        const env = hubEnvironment(scene())
        const verified = await run(commandOf(client, 'hf'), ['cache', 'verify', 'acme/tiny'], { home, env })
        expect([client, verified.status, verified.stderr]).toEqual([client, 0, expect.any(String)])
      }
      const scanned = await run(commandOf('hub-0', 'hf'), ['cache', 'scan'], { home })
      expect([scanned.status, scanned.stdout + scanned.stderr]).toEqual([
        0,
        expect.not.stringMatching(/warning|corrupt/i),
      ])
    }
    expect(mirror.log()).not.toContain('"level":50')
  })

  it('as the clients make it, and their folders of --local-dir, fill a mirror without the Hub', async () => {
    const { hub, newHome } = scene()
    const other = { cacheDir: await newHome(), port: await freePort() }
    const there = {
      HUBMIRROR_ORIGIN: hub.url,
      HUBMIRROR_CACHE_DIR: join(other.cacheDir, 'store'),
      HUBMIRROR_OFFLINE: 'on',
    }
    const downloads = { 'hub-2': 'acme/tiny', 'hub-0': 'acme/bert', 'hub-020': 'acme/odd' }
    for (const [client, id] of Object.entries(downloads)) {
      const home = await newHome()
      await python(scene(), client, 'snapshot.py', [id], { home })
      const done = await runMirror(['import', cacheOf(home), '--public', '--whole'], there)
      expect([client, done.status, done.stderr]).toEqual([client, 0, ''])
      expect(done.stdout).toContain('imported')
    }
    const home = await newHome()
    const args = ['download', 'acme/data', '--repo-type', 'dataset', '--local-dir', join(home, 'data')]
    const downloaded = await run(commandOf('hub-2', 'hf'), args, { home, env: hubEnvironment(scene()) })
    expect([downloaded.status, downloaded.stderr]).toEqual([0, expect.any(String)])
    const named = ['--repo', 'dataset/acme/data', '--public', '--whole']
    const done = await runMirror(['import', join(home, 'data'), ...named], there)
    expect([done.status, done.stdout]).toEqual([0, expect.stringContaining('imported')])

    hub.ledger.clear()
    const mirror = await startMirrorProcess(there, other)
    try {
      const offline = { ...scene(), mirror }
      // Version 0.20 needs the number of downloads in the info of a repo, which this mirror does not know.
      for (const client of CLIENTS.filter((name) => name !== 'hub-020'))
        for (const id of client === 'hub-2' ? Object.values(downloads) : ['acme/tiny']) {
          const read = await python(offline, client, 'snapshot.py', [id])
          expect([client, read]).toMatchObject([client, { files: digestsOf(hub.world, id) }])
        }
      const commit = hub.world.find('datasets', 'acme/data')!.repo.resolve('main')!.id
      const data = digestsOf(hub.world, 'acme/data', { type: 'datasets' })
      expect(await python(offline, 'hub-2', 'snapshot.py', ['acme/data', commit, 'dataset'])).toMatchObject({
        files: data,
      })
      expect(hub.ledger.requests()).toEqual([])
    } finally {
      await mirror.end()
      await rm(join(other.cacheDir, 'store'), { recursive: true, force: true })
    }
  })
})
