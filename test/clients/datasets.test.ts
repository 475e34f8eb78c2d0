// `datasets` with a mirror that has a name: it asks `datasets-server.` and that name for what is said of a dataset.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { lfs, World } from '../hub-simulator/repos.ts'
import { run } from '../support/run-cli.ts'
import { scriptOf } from './matrix/scripts.ts'
import { needsTrust, PLACE } from './support/place.ts'
import { hubEnvironment } from './support/python.ts'
import { runForJson } from './support/run.ts'
import { expectManners, useScene } from './support/scene.ts'
import { describeClient, pythonOf, scriptPath } from './support/tools.ts'

const PARQUET = readFileSync(new URL('./matrix/rows.parquet', import.meta.url))
// Below `localhost` every name leads to loopback.
const ALLOWED = 'localhost,datasets-server.localhost'

const ROWS = [
  { text: 'hello', label: 1 },
  { text: 'world', label: 2 },
]

function world(): World {
  const made = new World()
  made.dataset('acme/rows').commit({ 'README.md': '# rows\n', 'data/train.parquet': lfs(PARQUET) })
  return made
}

/** Why a run for another place leaves it out. */
function whyOnlyAtRoot(): { readonly onlyAtRoot?: string } {
  if (needsTrust)
    return { onlyAtRoot: 'the certificate of the tests does not name datasets-server.localhost' }
  if (PLACE.settings['HUBMIRROR_HOST'] === '::1') return { onlyAtRoot: 'no name stands before an address' }
  return {}
}

describeClient(
  'datasets and the datasets-server',
  [pythonOf('data')],
  () => {
    const scene = useScene(world, { asksDatasetsServer: true })

    it('loads a dataset whole and streamed, and asks the datasets-server through the mirror', async () => {
      const { hub, newHome } = scene()
      const env = { ...hubEnvironment(scene()), NO_PROXY: ALLOWED, no_proxy: ALLOWED }
      const args = [scriptPath('load_dataset.py'), 'acme/rows']
      const found = await runForJson(pythonOf('data'), args, { home: await newHome(), env })
      const { rows } = found as { readonly rows: readonly unknown[] }
      expect(rows.length).toBeGreaterThan(0)
      expect(found).toEqual({ rows, streamed: rows, description: 'as the datasets-server says' })
      const asked = hub.ledger.requests({ server: 'datasets-server' })
      expect(asked.map(({ url, status }) => [url, status])).toEqual([['/info?dataset=acme%2Frows', 200]])
      expectManners(hub)
    })
  },
  whyOnlyAtRoot(),
)

describeClient('datasets', [pythonOf('data')], () => {
  const scene = useScene(world)

  it('loads a dataset that was only prefetched, from a mirror that is offline', async () => {
    const { hub, mirror, restartMirror } = scene()
    const settings = { HUBMIRROR_CACHE_DIR: join(mirror.cacheDir, 'store') }
    const prefetched = await run(['prefetch', 'dataset/acme/rows'], settings)
    expect([prefetched.status, prefetched.stderr]).toEqual([0, expect.any(String)])
    await restartMirror({ HUBMIRROR_OFFLINE: 'on' })
    await hub.stop()
    const home = await scene().newHome()
    const args = [scriptOf('read.py'), 'load_parquet', 'acme/rows']
    expect(await runForJson(pythonOf('data'), args, { home, env: hubEnvironment(scene()) })).toEqual(ROWS)
  })
})
