// The info of a repo with very many files: its callers do not keep the main thread from others. Smaller documents are in
// test/integration/large-documents.test.ts.

import { Agent, type IncomingMessage } from 'node:http'
import { expect, it, onTestFinished } from 'vitest'
import { open } from '../../support/ask.ts'
import { openScene } from '../../support/scene.ts'

const FILES = 100_000
const CALLERS = 4
const INFO = '/api/models/acme/many?blobs=true'
const STORED = '/acme/open/resolve/main/README.md'

it('an info of 100,000 files is prepared in pieces, and HEADs of small files are answered between these', async () => {
  const scene = await openScene()
  const names = (count: number) => Array.from({ length: count }, (_, index) => `${index}.json`)
  scene.world.model('acme/many').commit(Object.fromEntries(names(FILES).map((name) => [name, '{}'])))
  scene.world.model('acme/small').commit(Object.fromEntries(names(1_000).map((name) => [name, '{}'])))
  for (const target of [INFO, STORED]) await scene.ask(target)
  await scene.settled()
  // What was prepared for the first caller was in memory. The next process has only what the Hub sent, on the disk, and need not
  // wait for its bytes to arrive.
  await scene.restart()
  const agent = new Agent({ keepAlive: true })
  onTestFinished(() => agent.destroy())
  const head = (target: string) => scene.ask(target, { method: 'HEAD', agent })
  const fresh = (index: number) => `/acme/small/resolve/main/${index}.json`
  for (const target of [STORED, fresh(0)]) await head(target)
  scene.hub.faults.add({ where: 'hub', match: /acme\/many/, resetBeforeHeaders: true, times: 1_000 })

  const begun: IncomingMessage[] = []
  const infos = Array.from({ length: CALLERS }, () =>
    open(scene.mirror.url, INFO).then((info) => {
      begun.push(info)
      info.destroy()
      return info.headers['x-cache']
    }),
  )
  await scene.hub.ledger.whenDone({ url: INFO }, 2)
  const answered = { stored: 0, fresh: 0 }
  for (let index = 1; begun.length === 0; index += 1) {
    const kind = index % 2 === 0 ? 'stored' : 'fresh'
    const { status } = await head(kind === 'stored' ? STORED : fresh(index))
    expect(status).toBe(200)
    if (begun.length === 0) answered[kind] += 1
  }
  expect(await Promise.all(infos)).toEqual(infos.map(() => 'STALE'))
  expect(answered.stored).toBeGreaterThan(3)
  expect(answered.fresh).toBeGreaterThan(3)
})
