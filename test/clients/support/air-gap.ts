// Two sides of an air gap for real clients: a simulated Hub with a store that the commands of the first side fill, and a mirror of
// the other side, which is offline and whose origin counts the connections that it gets.

import { mkdtemp, rm } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'vitest'
import { lfs, World } from '../../hub-simulator/repos.ts'
import { type Hub, startHub } from '../../hub-simulator/server.ts'
import { freePort } from '../../support/free-port.ts'
import { run } from '../../support/run-cli.ts'
import type { Network } from '../matrix/network.ts'
import { type Stage, startClient } from '../matrix/stage.ts'
import { filesOf, type Reads } from '../matrix/world.ts'
import { type MirrorProcess, startMirrorProcess } from './mirror-process.ts'
import { TOKENS } from './world.ts'

/** What the clients read: each kind as a public repo and as a private one. */
const KINDS: Readonly<Record<string, Reads>> = {
  model: { repoType: 'models' },
  pipeline: { repoType: 'models', readsPipelines: true },
  rows: { repoType: 'datasets' },
}

/** The repo that a client of the table reads. */
export function repoFor({ repoType, readsPipelines }: Reads, of: 'open' | 'secret'): string {
  const kind = repoType === 'datasets' ? 'rows' : readsPipelines === true ? 'pipeline' : 'model'
  return `acme/${of}-${kind}`
}

/** The same repos as commands name them, at these revisions. */
export function argumentsFor(of: 'open' | 'secret', revisions: readonly string[] = ['main']): string[] {
  const names = Object.values(KINDS).map((reads) => {
    const prefix = reads.repoType === 'datasets' ? 'dataset/' : ''
    return prefix + repoFor(reads, of)
  })
  return names.flatMap((name) => revisions.map((revision) => `${name}@${revision}`))
}

/** A world with two commits of each repo, the first of which has the tag v1; alice may read the private ones, and the gated one. */
export function gapWorld(): World {
  const world = new World()
  world.addUser('alice', { token: TOKENS.alice, orgs: ['acme'] })
  world.addUser('bob', { token: TOKENS.bob })
  for (const of of ['open', 'secret'] as const)
    for (const [index, reads] of Object.values(KINDS).entries()) {
      const repo = world.repo(reads.repoType, repoFor(reads, of))
      if (of === 'secret')
        if (reads.repoType === 'datasets') repo.gated('manual', ['alice'])
        else repo.private(['alice'])
      const seed = index * 10 + (of === 'secret' ? 100 : 0)
      repo.tag('v1', repo.commit(filesOf(reads, seed)))
      repo.commit({
        ...filesOf(reads, seed + 1),
        'large.bin': lfs({ sizeBytes: 1_500_000, seed }),
        'nested/deeper/vocab.txt': `one\n${seed}\n`,
      })
    }
  return world
}

/** Commits once more to each public repo, as `gapWorld` has made it. */
export function commitMore(world: World): void {
  for (const [index, reads] of Object.values(KINDS).entries())
    world.repo(reads.repoType, repoFor(reads, 'open')).commit(filesOf(reads, index * 10 + 2))
}

type Env = Readonly<Record<string, string>>

/** What a command of the mirror is to end with. The default is 0. */
interface Expected {
  readonly status?: number
  readonly env?: Env
}

/** A stage on which clients read from the mirror of the other side. The caller must close it. */
export interface AirGap extends Omit<Stage, 'close'> {
  /** A path in a folder that is removed with the stage. */
  readonly at: (name: string) => string
  /** Runs a command of the mirror on the side that has the Hub. Resolves with what it has printed to stdout. */
  here(args: readonly string[], expected?: Expected): Promise<string>
  /** Runs one on the other side. */
  there(args: readonly string[], expected?: Expected): Promise<string>
  /** Starts the mirror of the other side. */
  serve(env?: Env): Promise<void>
  /** Ends it. */
  end(): Promise<void>
  /** Fails if anything of the other side has left it, or the Hub was asked since its ledger was cleared. */
  expectNothingLeft(): void
  close(): Promise<void>
}

/** Opens both sides, with nothing in either store. `settings` are those of the commands and the mirrors of both. */
export async function openAirGap(world: World, network: Network, settings: Env = {}): Promise<AirGap> {
  const folder = await mkdtemp(join(tmpdir(), 'hubmirror-gap-'))
  const at = (name: string): string => join(folder, name)
  const hub: Hub = await startHub({ world })
  let connections = 0
  const origin = createServer((socket) => {
    connections += 1
    socket.destroy()
  }).listen(0, '127.0.0.1')
  await new Promise((resolve) => origin.once('listening', resolve))
  const port = String((origin.address() as AddressInfo).port)
  const common = { HUBMIRROR_CACHE_MIN_FREE: '0B', ...settings }
  const hereEnv = {
    ...common,
    HUBMIRROR_ORIGIN: hub.url,
    HUBMIRROR_REDIRECT_HOSTS: new URL(hub.cdnUrl).hostname,
    HUBMIRROR_CACHE_DIR: at('here/store'),
  }
  const thereEnv = {
    ...common,
    HUBMIRROR_ORIGIN: `http://127.0.0.1:${port}`,
    HUBMIRROR_CACHE_DIR: at('there/store'),
    HUBMIRROR_OFFLINE: 'on',
  }
  const runs =
    (own: Env) =>
    async (args: readonly string[], { status = 0, env = {} }: Expected = {}) => {
      const done = await run(args, { ...own, ...env })
      expect([args, done.status], done.stdout + done.stderr).toEqual([args, status])
      return done.stdout.trim()
    }
  let mirror: MirrorProcess | undefined
  const running = (): MirrorProcess => {
    if (mirror === undefined) throw new Error('the other side serves nothing')
    return mirror
  }
  const serve = async (env: Env = {}): Promise<void> => {
    const listen: Env = network.isNamespace ? { HUBMIRROR_HOST: '0.0.0.0' } : {}
    const predecessor = mirror ?? { cacheDir: at('there'), port: await freePort() }
    mirror = await startMirrorProcess({ ...thereEnv, ...listen, ...env }, predecessor)
  }
  return {
    hub,
    at,
    here: runs(hereEnv),
    there: runs(thereEnv),
    endpoint: () => (network.isNamespace ? `http://${network.host}:${running().port}` : running().url),
    mirror: running,
    serve,
    end: () => running().end(),
    async restart(env) {
      await running().end()
      await serve(env)
    },
    newHome: () => mkdtemp(at('home-')),
    start: (command, home) => startClient(command, home, network),
    expectNothingLeft() {
      expect([connections, hub.ledger.requests()]).toEqual([0, []])
    },
    async close() {
      const code = await mirror?.stop()
      origin.close()
      await hub.close()
      await rm(folder, { recursive: true, force: true })
      expect(code ?? 0, mirror?.log()).toBe(0)
    },
  }
}
