// The wall clock of a process that serves is set, as by an operator or a time server that was long away.

import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { probe } from '../hub-simulator/probe.ts'
import { bytesOf, lfs, World } from '../hub-simulator/repos.ts'
import { type Hub, startHub } from '../hub-simulator/server.ts'
import { eventually } from '../support/eventually.ts'
import { badLines, type Child, startChild } from '../support/process.ts'
import { verdictOf } from '../support/verdict.ts'

const CLOCK = fileURLToPath(new URL('../support/stepping-clock.mjs', import.meta.url))
const TOKEN = `hf_${'member'.padEnd(34, '0')}`
const DAY_MS = 86_400_000
const REPOS = ['open', 'private'] as const
const PATHS = ['a.bin', 'b.bin', 'small.json'] as const

let hub: Hub
let files: ReadonlyMap<string, Buffer>
let folder: string
let child: Child

beforeEach(async () => {
  const world = new World().addUser('member', { token: TOKEN })
  const contents = {
    'a.bin': lfs({ sizeBytes: 3_000_000, seed: 1 }),
    'b.bin': lfs({ sizeBytes: 3_000_000, seed: 2 }),
    'small.json': '{"small":true}',
  }
  world.model('acme/open').commit(contents)
  world.model('acme/private').private(['member']).commit(contents)
  files = new Map(PATHS.map((path) => [path, bytesOf(world.model('acme/open'), 'main', path)]))
  hub = await startHub({ world })
  folder = await mkdtemp(join(tmpdir(), 'hubmirror-clock-'))
  await setClock(0)
})

afterEach(async () => {
  hub.faults.clear()
  await child.stop()
  expect(badLines(child.log())).toEqual([])
  await hub.close()
  await rm(folder, { recursive: true, force: true })
})

const offset = () => join(folder, 'offset')
/** From now on the clock of the mirror is off by so much, and never half of it. */
async function setClock(offsetMs: number): Promise<void> {
  await writeFile(`${offset()}.new`, String(offsetMs))
  await rename(`${offset()}.new`, offset())
}

async function start(env: Record<string, string> = {}): Promise<void> {
  child = await startChild({
    hub,
    cacheDir: join(folder, 'store'),
    env: {
      NODE_OPTIONS: `--import=${CLOCK}`,
      CLOCK_OFFSET_FILE: offset(),
      HUBMIRROR_REF_TTL: '1h',
      HUBMIRROR_ACCESS_TTL: '1h',
      ...env,
    },
  })
}

const right = (path: string) => files.get(path) ?? Buffer.alloc(0)
const get = (repo: (typeof REPOS)[number], path: string) =>
  probe(`${child.url}/acme/${repo}/resolve/main/${path}`, repo === 'private' ? { token: TOKEN } : {})

async function served(repo: (typeof REPOS)[number], path: string): Promise<string> {
  const got = await get(repo, path)
  expect(verdictOf(got, right(path)), `${repo} ${path}`).toBe('whole')
  return String(got.headers['x-cache'])
}

/** When the mirror says that it answered last, by its own clock. */
const lastLineAt = () => Date.parse(String(child.entries().findLast(({ requestId }) => requestId)?.['time']))

describe('when the clock of a running process is set,', () => {
  it.each([
    ['back by a day', -DAY_MS],
    ['on by a day', DAY_MS],
    ['back to 1970', -Date.UTC(2026, 0)],
  ])('%s changes nothing that is served, then or after a restart', async (_, stepMs) => {
    await start()
    for (const path of ['a.bin', 'small.json'])
      await eventually(
        () => served('open', path),
        (word) => word === 'HIT',
      )
    await served('private', 'small.json')
    hub.faults.add({ where: 'cdn', stallAfterBytes: 1_000_000 })
    const underWay = get('open', 'b.bin')
    await hub.faults.whenStalled()
    hub.ledger.clear()
    await setClock(stepMs)
    for (const path of ['a.bin', 'small.json']) expect(await served('open', path)).toBe('HIT')
    // Neither fresher nor staler: not a question more.
    expect(hub.ledger.requests()).toEqual([])
    await eventually(lastLineAt, (at) => Math.abs(at - Date.now() - stepMs) < DAY_MS / 2)
    hub.faults.release()
    expect(verdictOf(await underWay, right('b.bin'))).toBe('whole')
    for (const repo of REPOS) for (const path of PATHS) await served(repo, path)
    expect((await probe(`${child.url}/acme/private/resolve/main/a.bin`)).status).toBe(401)
    expect((await probe(`${child.url}/readyz`)).status).toBe(200)
    expect((await probe(`${child.url}/metrics`)).body.toString()).not.toContain('NaN')
    child.kill('SIGTERM')
    expect(await child.ended).toBe(0)
    expect(badLines(child.log())).toEqual([])

    // What was stored under one clock is found under the other, by the next process.
    await setClock(-stepMs)
    await start()
    hub.ledger.clear()
    for (const path of PATHS) await served('open', path)
    expect(hub.ledger.bodyRequests()).toEqual([])
    for (const path of PATHS) await served('private', path)
  })
  it('back by a day, no right lasts longer than it may', async () => {
    await start({ HUBMIRROR_ACCESS_TTL: '1s' })
    await served('open', 'a.bin')
    await setClock(-DAY_MS)
    await served('open', 'a.bin')
    hub.world.model('acme/open').makePrivate(['member'])
    await eventually(
      async () => (await get('open', 'a.bin')).status,
      (status) => status === 401,
    )
  })
})
