// Clones while the Hub is away: what is kept after a clone through the mirror, who is answered from it, and what is never kept.

import { chmod, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { clone, cloneAndLeave, openGitScene, urlOf } from '../support/clone-scene.ts'
import { eventually } from '../support/eventually.ts'
import { describeGit, gitClient, storedGits, whenStored } from '../support/git-client.ts'
import { TOKENS } from '../support/mirror-world.ts'
import { run } from '../support/run-cli.ts'

const REFS = '/acme/open/info/refs?service=git-upload-pack'
const V2 = { headers: { 'git-protocol': 'version=2' } }

/** The question for everything in version 0 of the protocol. */
const everything = (commit: string): string => `0032want ${commit}\n00000009done\n`

describeGit('a repo that was cloned once', () => {
  it('can be cloned in every way while the Hub is away, in its newest state', async () => {
    const scene = await openGitScene()
    const client = await gitClient()
    const commit = await clone(client, urlOf(scene), 'first')
    expect(commit).toBe(scene.commit('acme/open'))
    await whenStored(scene.mirror.cacheDir)
    // The fetch of the mirror carries no credential, and says by Via that it is of this mirror.
    const own = scene.hub.ledger.requests({ url: '/acme/open/git-upload-pack', method: 'POST' })
    expect(own.map(({ headers }) => [headers.authorization, headers.via?.includes('hubmirror')])).toEqual(
      own.map(() => [undefined, true]),
    )

    await scene.hub.stop()
    expect(await clone(client, urlOf(scene), 'full')).toBe(commit)
    expect(await readFile(join(client.home, 'full/config.json'), 'utf8')).toContain('"v":2')
    expect(await client.ok(['branch', '--remotes', '--list', '*/dev'], 'full')).toContain('origin/dev')
    expect(await client.ok(['tag'], 'full')).toBe('v1')
    expect(await clone(client, `${urlOf(scene)}.git`, 'shallow', '--depth', '1')).toBe(commit)
    expect(await client.ok(['rev-list', '--count', 'HEAD'], 'shallow')).toBe('1')
    expect(await clone(client, urlOf(scene), 'partial', '--filter=blob:none')).toBe(commit)
    await client.ok(['checkout', '--quiet', 'dev'], 'partial')
    const older = await client.ok(['-c', 'protocol.version=0', 'ls-remote', urlOf(scene), 'refs/heads/main'])
    expect(older).toContain(commit)
    const refs = await scene.ask(REFS, V2)
    expect([refs.status, refs.headers['x-cache'], refs.headers['content-type']]).toEqual([
      200,
      'STALE',
      'application/x-git-upload-pack-advertisement',
    ])

    await scene.hub.start()
    scene.clock.advance(60_000)
    const next = scene.world.model('acme/open').commit({ 'new.txt': 'new' })
    await client.ok(['pull', '--quiet'], 'full')
    expect(await client.ok(['rev-parse', 'HEAD'], 'full')).toBe(next)
    const [folder = ''] = await storedGits(scene.mirror.cacheDir)
    await eventually(
      () => readFile(join(folder, 'packed-refs'), 'utf8').catch(() => ''),
      (text) => text.includes(next),
    )
    // What was there already was not fetched again.
    expect(
      (await readdir(join(folder, 'objects/pack'))).filter((name) => name.endsWith('.pack')),
    ).toHaveLength(2)
    await scene.restart({ offline: true })
    expect(await clone(client, urlOf(scene), 'offline')).toBe(next)
    expect((await scene.ask(REFS, V2)).headers['x-cache']).toBe('HIT')
  })

  it('counts as space of the store, is listed and pruned', async () => {
    const scene = await openGitScene()
    const client = await gitClient()
    await clone(client, urlOf(scene), 'first')
    await whenStored(scene.mirror.cacheDir)
    const before = await eventually(
      () => scene.mirror.app.storeStatus(),
      ({ blobs }) => blobs === 1,
    )
    await scene.restart()
    await eventually(
      () => scene.mirror.app.storeStatus(),
      ({ blobs }) => blobs === 1,
    )
    expect(scene.mirror.app.storeStatus().sizeBytes).toBeGreaterThanOrEqual(before.sizeBytes / 2)
    const { cacheDir } = scene.mirror
    const listed = await run(['ls', '--json', '--cache-dir', cacheDir])
    const { repos, totals } = JSON.parse(listed.stdout) as Record<string, Record<string, unknown>[]>
    expect(repos?.map(({ repo, blobs }) => [repo, blobs])).toEqual([['models/acme/open', 0]])
    expect(repos?.[0]?.['gitBytes']).toBeGreaterThan(0)
    expect(totals).toMatchObject({ gitBytes: repos?.[0]?.['gitBytes'] })
    const pruned = await run(['prune', 'acme/open', '--cache-dir', cacheDir])
    expect(pruned.stdout).toMatch(/removed 0 blobs and 1 git clone, /)
    expect(await storedGits(cacheDir)).toEqual([])
    await scene.hub.stop()
    expect((await scene.ask(REFS, V2)).status).toBe(502)
  })

  it('is not served when it is damaged: it is removed, and fetched again', async () => {
    const scene = await openGitScene()
    const client = await gitClient()
    const folder = await cloneAndLeave(scene, client)
    const packs = join(folder, 'objects/pack')
    for (const name of await readdir(packs)) {
      if (!name.endsWith('.pack')) continue
      await chmod(join(packs, name), 0o600)
      await writeFile(join(packs, name), Buffer.alloc(2000))
    }
    expect((await client.run(['clone', '--quiet', urlOf(scene), 'damaged'])).status).not.toBe(0)
    await whenStored(scene.mirror.cacheDir, 0)
    expect(scene.mirror.logLines('could not be kept').length).toBeGreaterThan(0)
    const refused = await client.run(['clone', '--quiet', urlOf(scene), 'gone'])
    expect(refused.stderr).toMatch(/remote: The mirror .* can serve only stored content/)

    await scene.hub.start()
    scene.clock.advance(60_000)
    const commit = await clone(client, urlOf(scene), 'again')
    await whenStored(scene.mirror.cacheDir)
    await scene.hub.stop()
    expect(await clone(client, urlOf(scene), 'whole')).toBe(commit)
  })

  it('is not served when it cannot say its refs', async () => {
    const scene = await openGitScene()
    const folder = await cloneAndLeave(scene, await gitClient())
    await writeFile(join(folder, 'HEAD'), 'nothing')
    const refs = await scene.ask(REFS)
    expect([refs.status, refs.headers['content-type']]).toEqual([502, 'text/plain; charset=utf-8'])
    await whenStored(scene.mirror.cacheDir, 0)
  })
})

describeGit('a repo that is not public', () => {
  it('is cloned with credentials, and is never kept', async () => {
    const scene = await openGitScene()
    const client = await gitClient()
    const anonymous = await client.run(['clone', '--quiet', urlOf(scene, 'acme/secret'), 'none'])
    expect(anonymous.stderr).toContain('could not read Username')
    await clone(client, urlOf(scene, 'acme/secret', `alice:${TOKENS.alice}@`), 'secret')
    await clone(client, urlOf(scene), 'open')
    await whenStored(scene.mirror.cacheDir)
    await scene.hub.stop()
    const away = await client.run(['ls-remote', urlOf(scene, 'acme/secret', `alice:${TOKENS.alice}@`)])
    expect([away.status, away.stdout]).toEqual([128, ''])
  })

  it('is removed when it turns private, and the clone of its owner does not bring it back', async () => {
    const scene = await openGitScene()
    const client = await gitClient()
    await clone(client, urlOf(scene), 'open')
    await whenStored(scene.mirror.cacheDir)
    scene.world.model('acme/open').private(['alice'])
    const next = scene.world.model('acme/open').commit({ 'secret.txt': 'secret' })
    // The mirror still trusts its proof that the repo is public.
    const own = await clone(client, urlOf(scene, 'acme/open', `alice:${TOKENS.alice}@`), 'own')
    expect(own).toBe(next)
    await whenStored(scene.mirror.cacheDir, 0)
    await scene.hub.stop()
    for (const question of [V2, { ...V2, token: TOKENS.alice }])
      expect((await scene.ask(REFS, question)).status).toBe(502)
  })
})

describeGit('a client of git', () => {
  it('reads why it is refused', async () => {
    const scene = await openGitScene({ config: { offline: true } })
    const client = await gitClient()
    const unknown = await client.run(['clone', '--quiet', urlOf(scene), 'unknown'])
    expect(unknown.stderr).toContain(
      'remote: This mirror is offline by configuration, and has no git repository of this',
    )
    await client.ok(['init', '--quiet', 'own'])
    await client.ok(['commit', '--quiet', '--allow-empty', '--message', 'first'], 'own')
    const push = await client.run(['push', '--quiet', urlOf(scene), 'HEAD:main'], 'own')
    expect(push.stderr).toContain(
      'remote: This mirror is offline by configuration, so nothing can be pushed through it.',
    )
  })

  it('cannot make the mirror read a question without end', async () => {
    const scene = await openGitScene()
    await cloneAndLeave(scene, await gitClient())
    await scene.ask(REFS)
    const large = await scene.ask('/acme/open/git-upload-pack', {
      method: 'POST',
      body: Buffer.alloc(5_000_000, 0x30),
    })
    expect(large.status).toBe(413)
    const broken = await scene.ask('/acme/open/git-upload-pack', {
      method: 'POST',
      headers: { 'content-encoding': 'gzip' },
      body: 'no gzip',
    })
    expect(broken.status).toBe(400)
    const unknown = await scene.ask('/acme/open/git-upload-pack', {
      method: 'POST',
      body: everything('0'.repeat(39).concat('1')),
    })
    expect(unknown.body.toString()).toContain('ERR upload-pack: not our ref')
    // A wrong question does not damage what is stored.
    expect((await scene.ask(REFS)).status).toBe(200)
  })
})
