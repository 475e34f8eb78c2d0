// Measures the contestants. Each is started again for each kind of work. They take turns, run by run and round by round.
// Around each run stand the figures of the kernel and of the simulated Hub.

import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Change, lfs } from '../hub-simulator/repos.ts'
import type { Hub } from '../hub-simulator/server.ts'
import { Client } from './client/client.ts'
import type { LoadJob, LoadResult, Target } from './client/job.ts'
import type { Contestant, ContestantName, Server, StartOptions } from './contestants.ts'
import { type BenchFile, publish, type Range, target } from './files.ts'
import { cpuSeconds, peakRssBytes, resetPeakRss } from './process-figures.ts'
import type { GroupWriter, Reporter } from './reporter.ts'
import type { Scale } from './scale.ts'

// A server is at rest when it uses less than a twentieth of a core.
const REST_MS = 400
const REST_CPU_SECONDS = 0.02
/** A server that is busy for longer fetches on its own account. */
const SENT_WITHIN_MS = 5_000

/** A kind of work: what is requested, from which contestants, and which figures come of it. */
export interface Work {
  /** What `npm run bench -- NAME` calls it. */
  readonly name: string
  /** A measurement of growth. It runs only if it is named, or if everything is requested. */
  readonly isGrowth?: boolean
  readonly contestants: readonly ContestantName[]
  run(bench: Bench, servers: readonly Server[]): Promise<void>
}

/** One run of a contestant. Resolves with its figures. */
type Run<Id extends string> = (server: Server, round: number) => Promise<Readonly<Record<Id, number>>>

/** What a run cost the server and the Hub. */
export interface Usage {
  readonly cpuSeconds: number
  readonly peakRssBytes: number
  readonly originRequests: number
  /** Bytes of files. */
  readonly originBytes: number
}

export class Bench {
  readonly hub: Hub
  readonly scale: Scale
  readonly reporter: Reporter
  readonly client: Client
  readonly #contestants: readonly Contestant[]
  readonly #started = new Set<{ stop(): Promise<void> }>()
  readonly #largeFiles = new Map<string, BenchFile>()

  constructor(options: {
    readonly hub: Hub
    readonly scale: Scale
    readonly reporter: Reporter
    /** The installed contestants. */
    readonly contestants: readonly Contestant[]
  }) {
    this.hub = options.hub
    this.scale = options.scale
    this.reporter = options.reporter
    this.#contestants = options.contestants
    this.client = new Client(options.scale.deadlineSeconds)
  }

  /** Does a work with all contestants that take part in it. */
  play(work: Work): Promise<void> {
    return this.serving(work.contestants, {}, (servers) => work.run(this, servers))
  }

  /** Runs `act` while the contestants of `names` serve. One that does not start is reported, and the others go on. */
  async serving(
    names: readonly ContestantName[],
    options: StartOptions,
    act: (servers: readonly Server[]) => Promise<void>,
  ): Promise<void> {
    const servers: Server[] = []
    try {
      for (const contestant of this.#contestants) {
        if (!names.includes(contestant.name)) continue
        const server = await contestant.start(this.hub, options).catch((error: unknown) => {
          this.reporter.complain(`${contestant.title}: ${messageOf(error)}`)
        })
        if (server !== undefined) servers.push(this.track(server))
      }
      await act(servers)
    } finally {
      for (const server of servers) await server.stop()
    }
  }

  /** The server ends before the bench does, whatever happens. */
  track<S extends { stop(): Promise<void> }>(server: S): S {
    this.#started.add(server)
    return server
  }

  /** Ends all processes and servers that were started. */
  async stop(): Promise<void> {
    await this.client.stop()
    for (const server of this.#started) await server.stop()
    await this.hub.close()
  }

  /** Adds a new repo to the Hub. */
  publish(repo: string, changes: Readonly<Record<string, Change>>): BenchFile[] {
    return publish(this.hub.world, repo, changes)
  }

  /**
   * A large file in a repo of its own, made once for each name. No other file shares bytes with it. If no client reads it
   * to its end, its digest may be invented, which saves reading it here.
   */
  largeFile(name: string, sizeBytes: number, digest: 'real' | 'invented' = 'real'): BenchFile {
    const known = this.#largeFiles.get(name)
    if (known !== undefined) return known
    const seed = this.#largeFiles.size + 1
    const sha256 = createHash('sha256').update(name).digest('hex')
    const content = { sizeBytes, seed, ...(digest === 'real' ? {} : { sha256 }) }
    const [file] = this.publish(`bench/${name}`, { 'model.bin': lfs(content) })
    if (file === undefined) throw new Error('no file')
    this.#largeFiles.set(name, file)
    return file
  }

  target(server: Server, file: BenchFile, range?: Range): Target {
    return target(server.fileUrl(file), file, 'crc32', range)
  }

  /** GETs whose bodies are compared with their digests as they arrive. */
  get(job: Pick<LoadJob, 'targets' | 'connections' | 'until'>): Promise<LoadResult> {
    return this.client.play({ job: 'load', method: 'GET', digest: 'crc32', ...job })
  }

  /**
   * Lets all servers store `file`, each in its own way, and checks the sha256 of what they serve. Returns the servers that
   * have it. The others are reported.
   */
  async warmUp(servers: readonly Server[], file: BenchFile): Promise<readonly Server[]> {
    const able: Server[] = []
    for (const server of servers) {
      server.put?.(file)
      const targets = [target(server.fileUrl(file), file, 'sha256')]
      try {
        await this.client.play({
          job: 'load',
          method: 'GET',
          digest: 'sha256',
          targets,
          connections: 1,
          until: { answers: 1 },
        })
        able.push(server)
      } catch (error) {
        this.reporter.complain(`${file.repo}: ${server.name}: ${messageOf(error)}`)
      }
    }
    return able
  }

  /** Runs `act` while the origin sends at most this much on each connection; undefined is without limit. */
  async limited<T>(bytesPerSecond: number | undefined, act: () => Promise<T>): Promise<T> {
    this.hub.bytesPerSecond = bytesPerSecond
    try {
      return await act()
    } finally {
      this.hub.bytesPerSecond = undefined
    }
  }

  /** Runs `act` while the Hub answers each request so much later, as one that is far away. Its CDN does not. */
  async delayed<T>(delayMs: number, act: () => Promise<T>): Promise<T> {
    const delay = this.hub.faults.add({ where: 'hub', delayMs, times: Number.POSITIVE_INFINITY })
    try {
      return await act()
    } finally {
      delay.remove()
    }
  }

  /**
   * Runs every server in turn, round by round, into one group. After a run that fails, its server has no more runs. A work
   * that becomes faster at first gets a round that is not counted. Returns the servers that failed in no run.
   */
  async rounds<Id extends string>(
    servers: readonly Server[],
    group: GroupWriter<Id>,
    run: Run<Id>,
    options: { readonly rounds?: number; readonly warmUp?: boolean } = {},
  ): Promise<readonly Server[]> {
    const rounds = options.rounds ?? this.scale.rounds
    const spentMs = new Map<Server, number>()
    for (let round = options.warmUp === true ? -1 : 0; round < rounds; round += 1) {
      for (const server of servers) {
        const before = spentMs.get(server) ?? 0
        if (before > this.scale.budgetSeconds * 1000) continue
        const startedAt = performance.now()
        try {
          const values = await run(server, round)
          if (round < 0) continue
          group.add(server.name, values)
          spentMs.set(server, before + performance.now() - startedAt)
        } catch (error) {
          group.fail(server.name, messageOf(error))
          spentMs.set(server, Number.POSITIVE_INFINITY)
          await settled(server.pid, this.scale.deadlineSeconds)
        }
      }
    }
    group.close()
    return servers.filter((server) => spentMs.get(server) !== Number.POSITIVE_INFINITY)
  }

  /** The same with one round: for a work that can be done only once, or that one run shows as well as many. */
  once<Id extends string>(
    servers: readonly Server[],
    group: GroupWriter<Id>,
    run: Run<Id>,
  ): Promise<readonly Server[]> {
    return this.rounds(servers, group, run, { rounds: 1 })
  }

  /** Runs `act`, and returns what it cost. */
  async measure<T>(
    server: Server,
    act: () => Promise<T>,
  ): Promise<{ readonly result: T; readonly usage: Usage }> {
    const { ledger } = this.hub
    ledger.clear()
    const { pid, frontPid } = server
    const pids = frontPid === undefined ? [pid] : [pid, frontPid]
    const cpu = (): number => pids.reduce((sum, each) => sum + cpuSeconds(each), 0)
    for (const each of pids) resetPeakRss(each)
    const cpuBefore = cpu()
    const result = await act()
    await this.#sent()
    const usage = {
      cpuSeconds: cpu() - cpuBefore,
      peakRssBytes: pids.reduce((sum, each) => sum + peakRssBytes(each), 0),
      originRequests: ledger.requests().length,
      originBytes: ledger.bytes(),
    }
    return { result, usage }
  }

  /** A client may have its answer before the Hub has sent all bytes that the answer costs. */
  async #sent(): Promise<void> {
    const deadlineAt = performance.now() + SENT_WITHIN_MS
    while (this.hub.ledger.requests((entry) => !entry.done).length > 0) {
      if (performance.now() > deadlineAt) return
      await sleep(1)
    }
  }
}

/** Resolves when a server is at rest, or after a time limit. It may still be busy for clients that have left. */
async function settled(pid: number, withinSeconds: number): Promise<void> {
  const deadlineAt = performance.now() + withinSeconds * 1000
  for (let before = cpuSeconds(pid); performance.now() < deadlineAt; ) {
    await sleep(REST_MS)
    const now = cpuSeconds(pid)
    if (now - before < REST_CPU_SECONDS) return
    before = now
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
