// What an operator decides about repositories that are kept for clones.

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { clone, cloneAndLeave, openGitScene, urlOf } from '../../support/clone-scene.ts'
import { eventually } from '../../support/eventually.ts'
import { describeGit, gitClient, storedGits, whenStored } from '../../support/git-client.ts'
import { TOKENS } from '../../support/mirror-world.ts'
import { policiesOf } from '../../support/policies.ts'
import { metricValue } from '../../support/start-mirror.ts'

describeGit('what an operator decides', () => {
  it.each([
    ['the limit of the store', { cacheMaxSizeBytes: 3_000_000 }],
    ['free space', { cacheMinFreeBytes: 1e18 }],
  ])('keeps out of the store what does not fit: %s', async (_what, config) => {
    const scene = await openGitScene({ config })
    await clone(await gitClient(), urlOf(scene), 'first')
    await eventually(
      () => scene.mirror.logLines('there is no room for it'),
      (lines) => lines.length > 0,
    )
    expect(await storedGits(scene.mirror.cacheDir)).toEqual([])
  })

  it('keeps a repo out of the store by a rule, and any repo by HUBMIRROR_GIT_CLONES=off', async () => {
    const policies = policiesOf('- {action: no-store, match: {repo: acme/open, file: "*.txt"}}')
    const scene = await openGitScene({ config: { policies } })
    const off = await scene.another({ config: { gitClones: 'off', refTtlMs: 0 } })
    const client = await gitClient()
    await clone(client, urlOf(scene), 'first')
    await clone(client, `${off.url}/acme/open`, 'second')
    await clone(client, urlOf(scene, 'acme/new'), 'third')
    const [folder = ''] = await whenStored(scene.mirror.cacheDir)
    const note = JSON.parse(await readFile(join(folder, 'hubmirror.json'), 'utf8')) as { owner: string }
    expect(note.owner).toMatch(/ models\/acme\/new$/)
    expect(await storedGits(off.cacheDir)).toEqual([])
    // One question of each client, and none of a mirror.
    expect(scene.hub.ledger.requests({ url: '/acme/open/info/refs' })).toHaveLength(2)
  })

  it('keeps repos of which clients have only read files by HUBMIRROR_GIT_CLONES=all, once for each commit', async () => {
    const scene = await openGitScene({ config: { gitClones: 'all' } })
    const own = () => scene.hub.ledger.requests({ url: '/acme/open/info/refs' }).length
    const config = '/acme/open/resolve/main/config.json'
    await scene.ask(config)
    await whenStored(scene.mirror.cacheDir)
    for (const path of ['README.md', 'nested/deeper/vocab.txt'])
      await scene.ask(`/acme/open/resolve/main/${path}`)
    await scene.ask('/acme/secret/resolve/main/config.json', { token: TOKENS.alice })
    expect(own()).toBe(1)
    const next = scene.world.model('acme/open').commit({ 'new.txt': 'new' })
    await scene.ask('/acme/open/resolve/main/new.txt')
    await eventually(
      async () => metricValue(await scene.mirror.metrics(), 'hubmirror_git_fetches_total{result="stored"}'),
      (count) => count === 2,
    )
    const metrics = await scene.mirror.metrics()
    expect(metricValue(metrics, 'hubmirror_git_repositories')).toBe(1)
    expect(metricValue(metrics, 'hubmirror_git_bytes')).toBeGreaterThan(0)
    expect(scene.hub.ledger.requests({ url: '/acme/secret/info/refs' })).toEqual([])
    await scene.hub.stop()
    expect(await clone(await gitClient(), urlOf(scene), 'away')).toBe(next)
  })

  it('decides about clones while the Hub is away as before', async () => {
    const scene = await openGitScene()
    await cloneAndLeave(scene, await gitClient())
    await scene.restart({
      policies: policiesOf('- {action: deny, match: {repo: acme/open}, message: Not here.}'),
    })
    const client = await gitClient()
    const denied = await client.run(['clone', '--quiet', urlOf(scene), 'denied'])
    expect(denied.stderr).toContain('remote: Not here.')
  })
})
