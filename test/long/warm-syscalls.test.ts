// The system calls of a warm answer: none concerns a file. The calls themselves show it.

import { mkdtemp, rm } from 'node:fs/promises'
import { Agent } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Asked, type Got, probe } from '../hub-simulator/probe.ts'
import { type Hub, startHub } from '../hub-simulator/server.ts'
import { eventually } from '../support/eventually.ts'
import { LARGE_BYTES, mirrorWorld } from '../support/mirror-world.ts'
import { type Child, startChild } from '../support/process.ts'
import { type Watch, watchCalls, whyNoStrace } from '../support/strace.ts'
import { childrenOf } from '../support/workers.ts'

const REPO = '/acme/open/resolve'
const ROUNDS = 100
/** All that takes a path, and all that reads, asks about or syncs what is open. */
const FILE_CALLS = '%file,pread64,preadv,pwrite64,fstat,statx,getdents64,fsync,fdatasync,ftruncate'
const noStrace = await whyNoStrace()

let hub: Hub
let cacheDir: string
let child: Child
let watch: Watch | undefined
let agent: Agent

beforeEach(async () => {
  hub = await startHub({ world: mirrorWorld() })
  cacheDir = await mkdtemp(join(tmpdir(), 'hubmirror-calls-'))
  agent = new Agent({ keepAlive: true, maxSockets: 2 })
})

afterEach(async () => {
  await watch?.end()
  watch = undefined
  agent.destroy()
  await child.stop()
  await hub.close()
  await rm(cacheDir, { recursive: true, force: true })
})

async function start(workers: number): Promise<void> {
  const env = {
    HUBMIRROR_WORKERS: String(workers),
    HUBMIRROR_ACCESS_TTL: '1h',
    HUBMIRROR_REF_TTL: '1h',
    HUBMIRROR_AUDIT_LOG: 'stdout',
  }
  child = await startChild({ hub, cacheDir, env })
}

const ask = (target: string, asked: Asked = {}): Promise<Got> =>
  probe(child.url + target, { ...asked, agent })

/** RequestBodies whose answers are in memory, whichever way they are found there. */
const QUESTIONS: readonly (readonly [what: string, path: string, asked: Asked])[] = [
  ['a HEAD of a small file', 'config.json', { method: 'HEAD' }],
  ['a HEAD of a large file', 'w.bin', { method: 'HEAD' }],
  [
    'a HEAD that has a condition, and takes the full path',
    'w.bin',
    { method: 'HEAD', headers: { 'if-none-match': '"another"' } },
  ],
  ['a HEAD of a file that is not there', 'adapter_config.json', { method: 'HEAD' }],
  ['a GET of a small file', 'config.json', {}],
]

/** Asks each question often; rejects where one was not answered from what is known. */
async function askAll(rounds: number): Promise<void> {
  const commit = hub.world.model('acme/open').resolve('main')?.id ?? ''
  for (let round = 0; round < rounds; round += 1)
    for (const [what, path, asked] of QUESTIONS)
      for (const revision of ['main', commit]) {
        const { status, headers } = await ask(`${REPO}/${revision}/${path}`, asked)
        expect([status, headers['x-cache']], what).toEqual([path.startsWith('adapter') ? 404 : 200, 'HIT'])
      }
}

/** Stores what is asked for, and waits until nothing of it is on its way to the disk. */
async function warm(): Promise<void> {
  for (const path of ['config.json', 'w.bin', 'adapter_config.json'])
    expect([200, 404]).toContain((await ask(`${REPO}/main/${path}`)).status)
  await eventually(
    () =>
      askAll(1).then(
        () => true,
        () => false,
      ),
    (isWarm) => isWarm,
  )
}

describe.skipIf(noStrace !== undefined)('a warm answer', () => {
  it.each([1, 2])(
    'makes no system call about a file, in a mirror of %i processes that answer',
    async (workers) => {
      await start(workers)
      await warm()
      const pids = [child.pid, ...(await childrenOf(child.pid))]
      const { lines } = (watch = await watchCalls(pids, FILE_CALLS))
      // The walk at start goes on behind the answers: what it touches is none of theirs.
      let quiet = -1
      await eventually(
        async () => {
          const before = quiet
          await askAll(1)
          quiet = (await lines()).length
          return quiet - before
        },
        (count) => count === 0,
      )
      await askAll(ROUNDS)
      // A large file is on the disk alone: that its opening was seen says that nothing before it was missed.
      expect((await ask(`${REPO}/main/w.bin`)).body).toHaveLength(LARGE_BYTES)
      const isOpening = (line: string) => line.includes(join(cacheDir, 'blobs'))
      const calls = await eventually(lines, (all) => all.some(isOpening))
      expect(calls.slice(quiet, calls.findIndex(isOpening)), 'calls for warm answers').toEqual([])
    },
  )
})
