// Plays a load job: several connections, each with one request at a time.

import { quantile } from '../statistics.ts'
import { Connection } from './connection.ts'
import type { LoadJob, LoadResult, Waits } from './job.ts'

// Large buffers for few connections, small ones for many.
const LARGE_BUFFER_BYTES = 1024 * 1024
const SMALL_BUFFER_BYTES = 64 * 1024
const MANY_CONNECTIONS = 64
// The backlog of a listening socket is 511 by default.
const CONNECT_AT_A_TIME = 100

/** Rejects at the first wrong answer. */
export async function load(job: LoadJob): Promise<LoadResult> {
  const { targets, until } = job
  const firstByteMs: number[] = []
  const lastByteMs: number[] = []
  let bytes = 0
  let asked = 0
  const startedAt = performance.now()
  const isOver = (): boolean =>
    'answers' in until ? asked >= until.answers : performance.now() - startedAt >= until.seconds * 1000
  const bufferBytes = job.connections < MANY_CONNECTIONS ? LARGE_BUFFER_BYTES : SMALL_BUFFER_BYTES
  const connections = Array.from({ length: job.connections }, () => new Connection({ ...job, bufferBytes }))

  const play = async (connection: Connection): Promise<void> => {
    while (!isOver()) {
      const target = targets[asked % targets.length]
      asked += 1
      if (target === undefined) throw new Error('a load without targets')
      const arrived = await connection.ask(target)
      firstByteMs.push(arrived.firstByteMs)
      lastByteMs.push(arrived.lastByteMs)
      bytes += arrived.bytes
    }
  }
  try {
    const playing: Promise<void>[] = []
    for (const connection of connections) {
      playing.push(play(connection))
      if (playing.length % CONNECT_AT_A_TIME === 0) await Promise.race([playing.at(-1), aMoment()])
    }
    await Promise.all(playing)
  } finally {
    for (const connection of connections) connection.close()
  }
  const seconds = (performance.now() - startedAt) / 1000
  return {
    answers: lastByteMs.length,
    bytes,
    seconds,
    firstByteMs: waits(firstByteMs),
    lastByteMs: waits(lastByteMs),
  }
}

export function waits(all: readonly number[]): Waits {
  return { p50: quantile(all, 0.5), p99: quantile(all, 0.99) }
}

function aMoment(): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, 1)
  })
}
