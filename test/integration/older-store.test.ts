// A mirror on a store that an earlier version has written: it serves what is stored at once, moves it, and asks the Hub for
// nothing because of it.

import { mkdtemp, readdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { probe } from '../hub-simulator/probe.ts'
import { World } from '../hub-simulator/repos.ts'
import { startHub } from '../hub-simulator/server.ts'
import { eventually } from '../support/eventually.ts'
import { OLDER_FILE, OLDER_ORIGIN, writeOlderStore } from '../support/older-store.ts'
import { startMirror } from '../support/start-mirror.ts'
import { smallBlobsIn } from '../support/stored-blobs.ts'

it('a file of an earlier version is served while the Hub is away, before and after it has moved to the database', async () => {
  const hub = await startHub({ world: new World() })
  const cacheDir = await mkdtemp(join(tmpdir(), 'hubmirror-older-'))
  await writeOlderStore(cacheDir)
  const file = `acme/open/resolve/${OLDER_FILE.commit}/${OLDER_FILE.path}`
  for (const keepDir of [true, true, false]) {
    const config = { offline: true, origin: new URL(OLDER_ORIGIN), workers: 1 }
    const mirror = await startMirror({ hub, cacheDir, config })
    const got = await probe(`${mirror.url}/${file}`)
    expect([got.status, got.body.toString(), got.headers['x-cache']]).toEqual([200, OLDER_FILE.text, 'HIT'])
    await eventually(
      async () => readdir(join(cacheDir, 'blobs/gitsha1/01')).catch(() => []),
      (names) => names.length === 0,
    )
    expect((await probe(`${mirror.url}/${file}`)).body.toString()).toBe(OLDER_FILE.text)
    await mirror.close({ keepDir: true })
    expect([...(await smallBlobsIn(cacheDir)).values()].map(String)).toEqual([OLDER_FILE.text])
    if (!keepDir) await (await startMirror({ hub, cacheDir, config })).close()
  }
  expect(hub.ledger.requests()).toEqual([])
  await hub.close()
})
