// Where one client of the table plays: a simulated Hub with a world of its own, a mirror before it, and homes for the
// client. The mirror can be ended and started again with other settings on the same store.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Hub, startHub } from '../../hub-simulator/server.ts'
import { WITH_PARENT } from '../../support/with-parent.ts'
import { type MirrorProcess, startMirrorProcess } from '../support/mirror-process.ts'
import { PLACE } from '../support/place.ts'
import { clientEnvironment, type Finished } from '../support/run.ts'
import type { Command } from './client.ts'
import type { Network } from './network.ts'
import { REPOS, type Reads, tableWorld } from './world.ts'

/** Objects above this size are uploaded in parts. */
const PART_BYTES = 5_000_000
/** Less than a test may take, so that a client which hangs is named, and gone. */
const WITHIN_MS = 120_000

/** The words of the rule that denies one repo. */
export const RULE = 'Models of this kind stay at home.'

/** A client's process that runs. */
export interface Running {
  readonly finished: Promise<Finished>
  /** SIGKILL to the process and to all that it started. */
  kill(): void
}

/** The caller must close it. */
export interface Stage {
  readonly hub: Hub
  /** The mirror's URL as clients use it. Only the place of this run can add a slash at its end. */
  readonly endpoint: () => string
  readonly mirror: () => MirrorProcess
  /** Ends the mirror and starts it again on the same store with further settings, for this time only. */
  restart(env: Readonly<Record<string, string>>): Promise<void>
  /** A new empty home, removed with the stage. */
  newHome(): Promise<string>
  start(command: Command, home: string): Running
  close(): Promise<void>
}

/** Opens a stage with the repos that `client` can read, for clients that run in `network`. `more` are settings of the mirror. */
export async function openStage(
  client: Reads,
  network: Network,
  more: Readonly<Record<string, string>> = {},
): Promise<Stage> {
  const folder = await mkdtemp(join(tmpdir(), 'hubmirror-table-'))
  const rules = join(folder, 'hubmirror.yaml')
  await writeFile(
    rules,
    `policies:\n  - { name: at-home, match: { repo: ${REPOS.denied} }, action: deny, message: ${RULE} }\n`,
  )
  const hub = await startHub({ world: tableWorld(client), partBytes: PART_BYTES })
  const settings = {
    HUBMIRROR_ORIGIN: hub.url,
    HUBMIRROR_REDIRECT_HOSTS: new URL(hub.cdnUrl).hostname,
    HUBMIRROR_CONFIG: rules,
    ...(network.isNamespace ? { HUBMIRROR_HOST: '0.0.0.0' } : {}),
    ...more,
  }
  let basePath = ''
  let mirror = await startMirrorProcess(settings)
  let homes = 0
  return {
    hub,
    endpoint: () => {
      const base = network.isNamespace ? `http://${network.host}:${mirror.port}` : mirror.url
      return PLACE.path === '' ? base + basePath : base
    },
    mirror: () => mirror,
    async restart(env) {
      await mirror.end()
      mirror = await startMirrorProcess({ ...settings, ...env }, mirror)
      basePath = env['HUBMIRROR_BASE_PATH'] ?? ''
    },
    async newHome() {
      homes += 1
      const home = join(folder, `home-${homes}`)
      await rm(home, { recursive: true, force: true })
      return mkdtemp(`${home}-`)
    },
    start: (command, home) => startClient(command, home, network),
    async close() {
      const code = await mirror.stop()
      await hub.close()
      await rm(folder, { recursive: true, force: true })
      if (code !== 0) throw new Error(`the mirror ended with ${code}:\n${mirror.log()}`)
    },
  }
}

/** Starts a client in `network`. */
export function startClient(command: Command, home: string, network: Network): Running {
  const [first = '', ...rest] = [...WITH_PARENT, ...network.prefix, command.command, ...command.args]
  const environment = clientEnvironment({ home, direct: false })
  // In a namespace, a proxy would only hide that there is no other host.
  const own = network.isNamespace
    ? Object.fromEntries(Object.entries(environment).filter(([name]) => !/proxy/i.test(name)))
    : environment
  const child = spawn(first, rest, {
    cwd: command.cwd ?? home,
    env: { ...own, ...command.env },
    stdio: ['ignore', 'pipe', 'pipe'],
    // A group of its own, so that what it starts can be killed with it.
    detached: true,
  })
  let [stdout, stderr] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  const kill = () => {
    if (child.pid === undefined) return
    try {
      process.kill(-child.pid, 'SIGKILL')
    } catch {
      // The group has ended.
    }
  }
  const timer = setTimeout(kill, WITHIN_MS)
  const finished = once(child, 'close').then(() => {
    clearTimeout(timer)
    return { status: child.exitCode, stdout, stderr }
  })
  return { finished, kill }
}
