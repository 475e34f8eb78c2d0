// What clients see of two mirrors behind a load balancer while one of them stops: nothing.

import { mkdtemp, rm } from 'node:fs/promises'
import { Agent } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { describeClient } from '../clients/support/tools.ts'
import { probe } from '../hub-simulator/probe.ts'
import { bytesOf, lfs, World } from '../hub-simulator/repos.ts'
import { type Hub, startHub } from '../hub-simulator/server.ts'
import { open } from '../support/ask.ts'
import { BALANCERS, startBalancer } from '../support/balancer.ts'
import { eventually } from '../support/eventually.ts'
import { badLines, type Child, startChild } from '../support/process.ts'

const FILE = '/acme/open/resolve/main'
const MEDIUM = 12 * 1024 * 1024
const SMALL = Array.from({ length: 24 }, (_, index) => `small-${index}.json`)
const CLIENTS = 8

let hub: Hub
let directories: string[] = []
let cleanUps: (() => Promise<unknown>)[] = []

beforeEach(async () => {
  const world = new World()
  world.model('acme/open').commit({
    ...Object.fromEntries(SMALL.map((name) => [name, `{"name":"${name}"}`])),
    ...Object.fromEntries(
      Array.from({ length: 6 }, (_, seed) => [`m${seed}.bin`, lfs({ sizeBytes: MEDIUM, seed })]),
    ),
  })
  hub = await startHub({ world })
})

afterEach(async () => {
  for (const cleanUp of cleanUps.toReversed()) await cleanUp()
  cleanUps = []
  await hub.close()
  for (const directory of directories) await rm(directory, { recursive: true, force: true })
  directories = []
})

async function start(env: Record<string, string>): Promise<Child> {
  const cacheDir = await mkdtemp(join(tmpdir(), 'hubmirror-stopping-'))
  directories.push(cacheDir)
  const child = await startChild({ hub, cacheDir, env })
  cleanUps.push(async () => {
    await child.stop()
    expect(badLines(child.log())).toEqual([])
  })
  return child
}

const right = (name: string) => bytesOf(hub.world.model('acme/open'), 'main', name)

/** Clients with a kept connection each, that ask without a pause until they are stopped. */
function askOn(url: string) {
  const over = new AbortController()
  let answers = 0
  const wrong: string[] = []
  const client = async (first: number): Promise<void> => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    for (let round = first; !over.signal.aborted; round += 1) {
      const name = SMALL[round % SMALL.length] ?? ''
      const method = round % 3 === 0 ? 'HEAD' : 'GET'
      try {
        const got = await probe(`${url}${FILE}/${name}`, { agent, method })
        const isRight = got.status === 200 && (method === 'HEAD' || got.body.equals(right(name)))
        if (!isRight) wrong.push(`${method} ${name}: ${got.status} ${got.body.toString().slice(0, 200)}`)
      } catch (error) {
        wrong.push(`${method} ${name}: ${String(error)}`)
      }
      answers += 1
    }
    agent.destroy()
  }
  const clients = Array.from({ length: CLIENTS }, (_, index) => client(index * 5))
  return {
    wrong,
    /** Resolves when so many more have been answered. */
    async more(count: number): Promise<void> {
      const due = answers + count
      await eventually(
        () => answers,
        (value) => value >= due,
      )
    },
    async stop(): Promise<void> {
      over.abort()
      await Promise.all(clients)
    },
  }
}

const served = (child: Child): number =>
  child.entries().filter((entry) => entry['msg'] === 'request' && entry['route'] === 'file').length

for (const balancer of BALANCERS)
  describeClient(
    `one of two mirrors behind ${balancer}`,
    [balancer],
    () => {
      it.each([1, 2])(
        'a mirror stops, and no client sees an error (processes that answer: %i)',
        async (workers) => {
          const env = {
            HUBMIRROR_WORKERS: String(workers),
            HUBMIRROR_DRAIN_DELAY: '5s',
            HUBMIRROR_DRAIN_TIMEOUT: '1h',
          }
          const [stopping, staying] = [await start(env), await start(env)]
          const front = await startBalancer(balancer, [stopping.url, staying.url])
          cleanUps.push(() => front.stop())
          const clients = askOn(front.url)
          cleanUps.push(() => clients.stop())
          for (const child of [stopping, staying])
            await eventually(
              () => served(child),
              (count) => count >= 50,
            )
          // Begun before, read after: whichever mirror sends them, they come whole.
          const names = Array.from({ length: 6 }, (_, seed) => `m${seed}.bin`)
          const downloads = await Promise.all(names.map((name) => open(front.url, `${FILE}/${name}`)))
          stopping.kill('SIGTERM')
          await eventually(
            () => stopping.entries().some((entry) => entry['msg'] === 'draining'),
            (isDraining) => isDraining,
          )
          // What arrives is answered until the balancer must have noticed.
          const [ready, file] = await Promise.all(
            ['/readyz', `${FILE}/${SMALL[0] ?? ''}`].map((path) => probe(`${stopping.url}${path}`)),
          )
          expect([ready?.status, file?.status]).toEqual([503, 200])
          // Then it takes no connections any more, and downloads under way are all that is left.
          await eventually(
            () => probe(`${stopping.url}/healthz`).catch(() => undefined),
            (answer) => answer === undefined,
          )
          for (const [index, download] of downloads.entries()) {
            const parts: Buffer[] = []
            for await (const part of download) parts.push(part as Buffer)
            expect(Buffer.concat(parts).equals(right(names[index] ?? ''))).toBe(true)
          }
          expect(await stopping.ended).toBe(0)
          await clients.more(200)
          await clients.stop()
          expect(clients.wrong).toEqual([])
        },
      )
    },
    { setup: 'test/faults/setup.sh' },
  )
