// `hubmirror prune` beside a running mirror, which it tells what it has removed.

import { expect, it } from 'vitest'
import { openBeside } from '../support/prefetch.ts'
import { run } from '../support/run-cli.ts'
import { metricValue } from '../support/start-mirror.ts'

it('a running mirror forgets at once the bytes that were removed, and counts them no more', async () => {
  const scene = await openBeside()
  const targets = ['config.json', 'w.bin'].map((path) => `/acme/open/resolve/main/${path}`)
  for (const target of targets) expect((await scene.ask(target)).status).toBe(200)
  await scene.settled()
  // Now they are in the memory of the mirror as well.
  for (const target of targets) await scene.ask(target)
  const blobs = async () => metricValue(await scene.mirror.metrics(), 'hubmirror_cache_blobs')
  const before = (await blobs()) ?? 0
  const env = { HUBMIRROR_CACHE_DIR: scene.mirror.cacheDir }
  const pruned = await run(['prune', 'acme/open'], env)
  expect([pruned.status, pruned.stdout]).toEqual([0, expect.stringContaining('removed ')])
  const removed = Number(/removed (\d+) blobs/.exec(pruned.stdout)?.[1])
  // No client has asked for anything since.
  expect([await blobs(), removed > 1]).toEqual([before - removed, true])
  expect(scene.mirror.app.storeStatus().sizeBytes).toBeLessThan(100_000)
  const again = await scene.ask(targets[1] ?? '')
  expect([again.headers['x-cache'], again.body.equals(scene.bytes('acme/open', 'w.bin'))]).toEqual([
    'MISS',
    true,
  ])
  await scene.settled()
  expect((await scene.ask('/-/control/removed?blobs=')).status).toBe(404)
})
