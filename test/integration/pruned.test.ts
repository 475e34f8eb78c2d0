// A running mirror after `hubmirror prune` and `hubmirror verify` have removed something from its store: it answers as a mirror
// that was started after that.

import { createHash } from 'node:crypto'
import { rename, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { createLayout } from '../../src/store/layout.ts'
import { open, type Question } from '../support/ask.ts'
import { eventually } from '../support/eventually.ts'
import { describeGit, storedGits } from '../support/git-client.ts'
import { openBeside } from '../support/prefetch.ts'
import { run } from '../support/run-cli.ts'
import type { Scene } from '../support/scene.ts'
import * as company from '../support/served-company.ts'
import { metricValue } from '../support/start-mirror.ts'

const FILES = ['README.md', 'config.json', 'w.bin', 'nested/deeper/vocab.txt'].map(
  (path) => `/acme/open/resolve/main/${path}`,
)
const ABSENT = '/acme/open/resolve/main/none.txt'
const DOCUMENTS = [
  '',
  '/revision/main',
  '/revision/dev',
  '/tree/main?recursive=true&expand=false',
  '/refs',
].map((tail) => `/api/models/acme/open${tail}`)
const LISTS = ['/api/models?author=acme']

async function prune(scene: Scene, ...args: string[]): Promise<void> {
  const { cacheDir } = scene.mirror
  const pruned = await run(['prune', ...args], { HUBMIRROR_CACHE_DIR: cacheDir })
  expect(pruned).toMatchObject({ status: 0, stdout: expect.stringMatching(/removed [1-9]/) as unknown })
}

/** What clients see of answers, without what differs between any two. */
async function answers(scene: Scene, targets: readonly string[], question: Question = {}) {
  const found = []
  for (const target of targets) {
    for (const method of ['HEAD', 'GET']) {
      const { status, headers, body } = await scene.ask(target, { ...question, method })
      const { 'x-request-id': _, date: __, age: ___, ...rest } = headers
      found.push({ target, method, status, rest, body: body.toString('latin1') })
    }
  }
  return found
}

/** The answers of the mirror that runs, and of one that is started now. */
async function expectAsNew(scene: Scene, targets: readonly string[], question: Question = {}): Promise<void> {
  const url = scene.mirror.url
  const before = await answers(scene, targets, question)
  await scene.restart()
  const after = await answers(scene, targets, question)
  expect(before).toEqual(JSON.parse(JSON.stringify(after).replaceAll(scene.mirror.url, url)))
}

it('a pruned repo is as unknown without the Hub as after a restart', async () => {
  const scene = await openBeside()
  const commit = scene.commit('acme/open')
  const ofCommit = [...FILES, ...DOCUMENTS].map((target) => target.replace('main', commit))
  const targets = [...FILES, ABSENT, ...DOCUMENTS, ...LISTS, ...ofCommit]
  for (const target of [...targets, ...targets, '/legacy/resolve/main/config.json']) await scene.ask(target)
  await scene.settled()
  // What follows from several answers is in memory as well.
  await scene.hub.stop()
  const known = await answers(scene, targets)
  expect(known.filter(({ status }) => status === 200).length).toBeGreaterThan(20)
  await prune(scene, 'acme/open')
  for (const target of [...FILES, ...DOCUMENTS]) expect((await scene.ask(target)).status).not.toBe(200)
  expect((await scene.ask('/legacy/resolve/main/config.json')).status).toBe(200)
  await expectAsNew(scene, targets)
})

it('the Hub is asked again for a pruned repo, and all that it says is stored again', async () => {
  const scene = await openBeside()
  const targets = [...FILES, ...DOCUMENTS]
  for (const target of [...targets, ...targets]) expect((await scene.ask(target)).status).toBe(200)
  await scene.settled()
  await prune(scene, 'acme/open')
  scene.hub.ledger.clear()
  for (const target of targets) expect([target, (await scene.ask(target)).status]).toEqual([target, 200])
  await scene.settled()
  const asked = new Set(scene.hub.ledger.requests().map(({ url }) => url.replace(/\?.*$/, '')))
  for (const target of targets) expect(asked).toContain(target.replace(/\?.*$/, ''))
  await scene.hub.stop()
  await scene.restart()
  for (const target of targets) expect([target, (await scene.ask(target)).status]).toEqual([target, 200])
  const listed = await run(['ls', '--json'], { HUBMIRROR_CACHE_DIR: scene.mirror.cacheDir })
  expect(JSON.parse(listed.stdout)).toMatchObject({ unclaimed: { blobs: 0 } })
})

it('workers repeat no answer about a pruned repo', async () => {
  const scene = await openBeside({ config: { workers: 2 } })
  const [, config = ''] = FILES
  for (let round = 0; round < 3; round += 1) expect((await scene.ask(config)).status).toBe(200)
  await scene.settled()
  await scene.hub.stop()
  expect((await scene.ask(config)).status).toBe(200)
  await prune(scene, 'acme/open')
  expect((await scene.ask(config)).status).not.toBe(200)
})

it('what the Hub has shown of a private repo is as unknown after prune as after a restart', async () => {
  const made = await company.downloaded()
  const { scene, ci, team } = made
  await scene.mirror.app.openControl()
  await company.loseHub(scene)
  expect(await company.seen(scene, made)).toEqual(company.SERVED)
  await prune(scene, 'acme/secret')
  const targets = [company.SMALL, company.LARGE, company.INFO, company.TREE, company.REFS]
  for (const token of [ci, team])
    for (const target of targets) expect((await scene.ask(target, { token })).status).toBe(502)
  await expectAsNew(scene, targets, { token: team })
  // The Hub is back, and shows it again: the same is stored and served.
  await scene.hub.start()
  for (const target of targets) expect((await scene.ask(target, { token: ci })).status).toBe(200)
  await scene.settled()
  await company.loseHub(scene)
  expect(await company.seen(scene, made)).toEqual(company.SERVED)
  await scene.restart()
  expect(await company.seen(scene, made)).toEqual(company.SERVED)
})

it('a blob that verify moves away counts as stored no more', async () => {
  const scene = await openBeside()
  const [, , large = ''] = FILES
  expect((await scene.ask(large)).status).toBe(200)
  await scene.settled()
  const bytes = scene.bytes('acme/open', 'w.bin')
  const file = createLayout(scene.mirror.cacheDir).blob(
    `sha256:${createHash('sha256').update(bytes).digest('hex')}`,
  )
  await writeFile(`${file}.other`, Buffer.alloc(bytes.length))
  await rename(`${file}.other`, file)
  const blobs = async () => metricValue(await scene.mirror.metrics(), 'hubmirror_cache_blobs')
  const before = (await blobs()) ?? 0
  const verified = await run(['verify'], { HUBMIRROR_CACHE_DIR: scene.mirror.cacheDir })
  expect([verified.status, await blobs()]).toEqual([1, before - 1])
  expect((await scene.ask(large)).body.equals(bytes)).toBe(true)
  await scene.settled()
})

it('what an unfinished download has left counts no more once it is pruned', async () => {
  const scene = await openBeside({ busy: true, config: { pullAbandoned: 'stop' } })
  const [, , large = ''] = FILES
  scene.hub.faults.add({ where: 'cdn', stallAfterBytes: 1_000_000 })
  const answer = await open(scene.mirror.url, large)
  await scene.hub.faults.whenStalled()
  answer.destroy()
  await scene.mirror.pulls.ended()
  scene.hub.faults.clear()
  const key =
    `sha256:${createHash('sha256').update(scene.bytes('acme/open', 'w.bin')).digest('hex')}` as const
  expect(scene.mirror.app.storeStatus().blobs).toBe(1)
  // A client of an hour ago.
  await utimes(join(createLayout(scene.mirror.cacheDir).partial(key), 'data'), 1, 1)
  await prune(scene, 'acme/open')
  expect(scene.mirror.app.storeStatus().blobs).toBe(0)
})

describeGit('a git repository that is pruned', () => {
  it('counts no more, and is kept again when a client reads the repo again', async () => {
    const scene = await openBeside({ config: { gitClones: 'all', refTtlMs: 0 } })
    const [, config = ''] = FILES
    const gits = () => scene.mirror.app.storeStatus().gits
    await scene.ask(config)
    await eventually(gits, (count) => count === 1)
    await prune(scene, 'acme/open')
    expect([gits(), await storedGits(scene.mirror.cacheDir)]).toEqual([0, []])
    await scene.ask(config)
    await eventually(gits, (count) => count === 1)
  })
})
