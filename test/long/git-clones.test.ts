// Large git repositories: a fetch that is killed, one that becomes too large, and a client that leaves in the middle of an answer.
// Also what takes a process of its own: a machine without git, and the way to the Hub through a proxy.

import { randomBytes } from 'node:crypto'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { startForwardProxy } from '../hub-simulator/forward-proxy.ts'
import { lfs, World } from '../hub-simulator/repos.ts'
import { startHub } from '../hub-simulator/server.ts'
import { ask, open } from '../support/ask.ts'
import { GOOD_CERTIFICATE, TEST_CA } from '../support/certificates.ts'
import { eventually } from '../support/eventually.ts'
import { describeGit, gitClient, processesWith, storedGits, whenStored } from '../support/git-client.ts'
import { mirrorWorld } from '../support/mirror-world.ts'
import { startChild } from '../support/process.ts'
import { openScene } from '../support/scene.ts'
import { metricValue } from '../support/start-mirror.ts'
import { startTlsFront } from '../support/tls-front.ts'

/** A repo of which git cannot make a small pack. */
function largeWorld(sizeBytes: number): World {
  const world = mirrorWorld()
  world.model('acme/large').commit({ 'large.txt': randomBytes(sizeBytes), 'small.txt': 'small' })
  return world
}

describeGit('a mirror that is killed while it fetches a git repository', () => {
  it('serves nothing of it afterwards, leaves nothing behind, and fetches it again', async () => {
    const world = new World()
    const commit = world.model('acme/open').commit({ 'large.txt': randomBytes(3_000_000) })
    const hub = await startHub({ world })
    onTestFinished(() => hub.close())
    const cacheDir = await mkdtemp(join(tmpdir(), 'hubmirror-git-store-'))
    onTestFinished(() => rm(cacheDir, { recursive: true, force: true }))
    const env = { HUBMIRROR_REF_TTL: '0s' }
    const client = await gitClient()
    // The mirror asks without `.git`, and the client of this test with it.
    const own = /^\/acme\/open\/git-upload-pack/
    hub.faults.add({ where: 'hub', match: own, method: 'POST', skip: 1, stallAfterBytes: 1_000_000 })

    const first = await startChild({ hub, cacheDir, env })
    onTestFinished(() => first.stop())
    await client.ok(['clone', '--quiet', `${first.url}/acme/open.git`, 'first'])
    await hub.faults.whenStalled()
    first.kill('SIGKILL')
    await first.ended
    expect((await readdir(join(cacheDir, 'tmp'))).length).toBeGreaterThan(0)
    hub.faults.clear()
    await hub.stop()

    const second = await startChild({ hub, cacheDir, env })
    onTestFinished(() => second.stop())
    expect([await readdir(join(cacheDir, 'tmp')), await storedGits(cacheDir)]).toEqual([[], []])
    const refused = await client.run(['clone', '--quiet', `${second.url}/acme/open.git`, 'refused'])
    expect([refused.status, refused.stderr.includes('can serve only stored content')]).toEqual([128, true])

    await hub.start()
    await client.ok(['clone', '--quiet', `${second.url}/acme/open.git`, 'second'])
    await whenStored(cacheDir)
    await hub.stop()
    await client.ok(['clone', '--quiet', `${second.url}/acme/open.git`, 'third'])
    expect(await client.ok(['rev-parse', 'HEAD'], 'third')).toBe(commit)
  })
})

describeGit('a large git repository', () => {
  it('that is too large ends its fetch, and no other one', async () => {
    const scene = await openScene({
      world: largeWorld(8_000_000),
      config: { refTtlMs: 0, cacheMaxSizeBytes: 7_000_000 },
    })
    const client = await gitClient()
    await client.ok(['clone', '--quiet', `${scene.mirror.url}/acme/large`, 'large'])
    const [line = ''] = await eventually(
      () => scene.mirror.logLines('could not be kept'),
      (lines) => lines.length > 0,
    )
    expect(line).toContain('there is no room for it')
    expect(await storedGits(scene.mirror.cacheDir)).toEqual([])
    await client.ok(['clone', '--quiet', `${scene.mirror.url}/acme/open`, 'open'])
    await whenStored(scene.mirror.cacheDir)
  })

  it('makes room by what was used longest ago: a clone for a clone, a clone for a file, and a file for a clone', async () => {
    const world = mirrorWorld()
    for (const name of ['first', 'second', 'third'])
      world.model(`acme/${name}`).commit({ 'large.txt': randomBytes(1_500_000), 'small.txt': 'small' })
    world.model('acme/file').commit({ 'w.bin': lfs({ sizeBytes: 4_000_000, seed: 31 }) })
    // A fetch is promised 4 MiB before it begins. Beside one of these clones there is room for that, and beside two there is not.
    const scene = await openScene({ world, config: { refTtlMs: 0, cacheMaxSizeBytes: 6_500_000 } })
    const client = await gitClient()
    const { cacheDir } = scene.mirror
    const clone = (name: string, folder: string) =>
      client.run(['clone', '--quiet', `${scene.mirror.url}/acme/${name}`, folder])
    const evicted = async () =>
      metricValue(await scene.mirror.metrics(), 'hubmirror_cache_evictions_total{reason="max-size"}')
    await clone('first', 'first')
    const [oldest = ''] = await whenStored(cacheDir)
    await clone('second', 'second')
    await whenStored(cacheDir, 2)
    expect(await evicted()).toBe(0)
    await clone('third', 'third')
    await eventually(
      () => storedGits(cacheDir),
      (found) => found.length === 2 && !found.includes(oldest),
    )
    expect(await evicted()).toBe(1)

    // A file takes the place of the second clone.
    const file = await scene.ask('/acme/file/resolve/main/w.bin')
    expect(file.status).toBe(200)
    await scene.settled()
    expect(await storedGits(cacheDir)).toHaveLength(1)
    expect(await evicted()).toBe(2)

    await scene.hub.stop()
    for (const gone of ['first', 'second'])
      expect([gone, (await clone(gone, `${gone}-away`)).status]).toEqual([gone, 128])
    expect((await clone('third', 'third-away')).status).toBe(0)

    // What was evicted is fetched again by the next clone through the mirror.
    await scene.hub.start()
    scene.clock.advance(60_000)
    expect((await clone('first', 'first-again')).status).toBe(0)
    await eventually(
      () => storedGits(cacheDir),
      (found) => found.includes(oldest),
    )
    await scene.hub.stop()
    expect((await clone('first', 'first-away')).status).toBe(0)
  })

  it('is not sent any further to a client that has left, and four times at once to one caller', async () => {
    const scene = await openScene({ world: largeWorld(16_000_000), config: { refTtlMs: 0 } })
    const client = await gitClient()
    await client.ok(['clone', '--quiet', `${scene.mirror.url}/acme/large`, 'large'])
    await whenStored(scene.mirror.cacheDir)
    await scene.hub.stop()
    await scene.ask('/acme/large/info/refs?service=git-upload-pack')
    const want = `0032want ${scene.commit('acme/large')}\n00000009done\n`
    const question = { method: 'POST', body: want }
    const target = '/acme/large/git-upload-pack'
    const held = await Promise.all(Array.from({ length: 4 }, () => open(scene.mirror.url, target, question)))
    expect(held.map(({ statusCode }) => statusCode)).toEqual([200, 200, 200, 200])
    const more = await ask(scene.mirror.url, target, question)
    expect([more.status, more.body.toString()]).toEqual([
      503,
      'This mirror is answering too many clones from its store. Try again in a moment.\n',
    ])
    expect(await processesWith(scene.mirror.cacheDir)).toBeGreaterThan(0)
    for (const answer of held) answer.destroy()
    await eventually(
      () => processesWith(scene.mirror.cacheDir),
      (count) => count === 0,
    )
    await client.ok(['clone', '--quiet', `${scene.mirror.url}/acme/large`, 'again'])
  })
})

describeGit('a mirror on a machine without git', () => {
  it('starts, says so once, and passes clones through', async () => {
    const hub = await startHub({ world: mirrorWorld() })
    onTestFinished(() => hub.close())
    const cacheDir = await mkdtemp(join(tmpdir(), 'hubmirror-git-store-'))
    onTestFinished(() => rm(cacheDir, { recursive: true, force: true }))
    const mirror = await startChild({ hub, cacheDir, env: { PATH: cacheDir, HUBMIRROR_REF_TTL: '0s' } })
    onTestFinished(() => mirror.stop())
    const client = await gitClient()
    const lines = () =>
      mirror.entries().filter(({ msg }) => String(msg).includes('git 2.32 or newer is not installed'))
    for (const folder of ['first', 'second']) {
      await client.ok(['clone', '--quiet', `${mirror.url}/acme/open`, folder])
      await eventually(lines, ({ length }) => length > 0)
    }
    await hub.stop()
    const refused = await client.run(['clone', '--quiet', `${mirror.url}/acme/open`, 'away'])
    expect(refused.stderr).toContain('remote: The mirror')
    expect([lines().map(({ level }) => level), await storedGits(cacheDir)]).toEqual([['warn'], []])
  })
})

describeGit('a mirror that reaches the Hub by TLS through a proxy with a password', () => {
  it('keeps a repo for clones by the same way', async () => {
    const hub = await startHub({ world: mirrorWorld() })
    onTestFinished(() => hub.close())
    const front = await startTlsFront(hub.url, GOOD_CERTIFICATE)
    onTestFinished(() => front.close())
    const login = 'user:p@ss'
    const proxy = await startForwardProxy({ to: new URL(front.url).host, login })
    onTestFinished(() => proxy.close())
    const folder = await mkdtemp(join(tmpdir(), 'hubmirror-git-store-'))
    onTestFinished(() => rm(folder, { recursive: true, force: true }))
    const [cacheDir, authority] = [join(folder, 'store'), join(folder, 'ca.pem')]
    await writeFile(authority, TEST_CA)
    const env = {
      HUBMIRROR_ORIGIN: 'https://localhost',
      HTTPS_PROXY: `http://user:p%40ss@${proxy.address}`,
      NODE_EXTRA_CA_CERTS: authority,
      GIT_SSL_CAINFO: authority,
    }
    const mirror = await startChild({ hub, cacheDir, env })
    onTestFinished(() => mirror.stop())
    const client = await gitClient()
    await client.ok(['clone', '--quiet', `${mirror.url}/acme/open`, 'first'])
    await whenStored(cacheDir).catch((error: unknown) => {
      throw new Error(mirror.log(), { cause: error })
    })
    expect(new Set(proxy.asked.map(({ method, target }) => `${method} ${target}`))).toEqual(
      new Set(['CONNECT localhost:443']),
    )
    expect(new Set(proxy.asked.map((asked) => asked.login))).toEqual(new Set([login]))
    expect(mirror.log()).not.toContain('p@ss')
    await hub.stop()
    await client.ok(['clone', '--quiet', `${mirror.url}/acme/open`, 'away'])
  })
})
