// The two runs that most kinds of work are made of, and the figures they bring: whole bodies, and many small requests.

import type { Bench, Usage } from './bench.ts'
import type { Target, Waits } from './client/job.ts'
import type { Server } from './contestants.ts'
import {
  bulkCosts,
  bulkValues,
  firstByte,
  p50,
  p99,
  perCore,
  perSecond,
  requestCosts,
  requestValues,
  wall,
} from './figures.ts'
import type { BenchFile } from './files.ts'
import type { Goal } from './report.ts'

export function bulkSpecs(
  goals: { readonly wall?: Goal; readonly cpu?: Goal; readonly rss?: Goal; readonly bytes?: Goal } = {},
) {
  return { wall: wall(goals.wall), firstByte: firstByte(), ...bulkCosts(goals) }
}

/** This many clients at once, each of which reads the whole file. */
export async function readWhole(bench: Bench, server: Server, file: BenchFile, clients: number) {
  const targets = [bench.target(server, file)]
  const { result, usage } = await bench.measure(server, () =>
    bench.get({ targets, connections: clients, until: { answers: clients } }),
  )
  const bytes = { served: result.bytes, file: file.content.sizeBytes }
  return { wall: result.seconds, firstByte: result.firstByteMs.p50, ...bulkValues(usage, bytes) }
}

/** The goal is for requests per CPU second. */
export function rateSpecs(goal?: Goal) {
  return { perCore: perCore(goal), perSecond: perSecond(), p50: p50(), p99: p99(), ...requestCosts() }
}

/** Requests the targets over and over, as fast as this many connections can. */
export async function askOften(
  bench: Bench,
  server: Server,
  what: {
    readonly targets: readonly Target[]
    readonly connections: number
    readonly method?: 'GET' | 'HEAD'
  },
) {
  const { result, usage } = await bench.measure(server, () =>
    bench.client.play({ job: 'load', method: 'GET', digest: 'crc32', until: bench.scale.until, ...what }),
  )
  return rateValues(usage, result, result.lastByteMs)
}

/** The figures of this many answers in this time. */
export function rateValues(
  usage: Usage,
  result: { readonly answers: number; readonly seconds: number },
  waits: Waits,
) {
  return {
    perCore: result.answers / usage.cpuSeconds,
    perSecond: result.answers / result.seconds,
    ...waits,
    ...requestValues(usage, result.answers),
  }
}
