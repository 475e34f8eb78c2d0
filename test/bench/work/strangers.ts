// What many slow connections of strangers cost another caller that requests small files that are not stored. The same requests
// go by turns to a second mirror that has no strangers: the ratio of the two is the figure.

import type { Bench, Work } from '../bench.ts'
import { Client } from '../client/client.ts'
import type { StrangersJob } from '../client/job.ts'
import type { Server } from '../contestants.ts'
import { atMost, p50, p99 } from '../figures.ts'

const TOKEN = 'hf_strangersOfTheBench00000000000000'
const MIB = 1024 ** 2
/** Pause between two requests. */
const PAUSE_MS = 3
/** The most requests before the measurement: connections are opened, and code is compiled. */
const MAX_WARM_UP = 100
/** A client opens 5,000 connections within this time. */
const OPENS_SECONDS = 60

/** Strangers read what the mirror passes through, read from a private repo, or upload. */
const WAYS: readonly StrangersJob['way'][] = ['passed', 'private', 'upload']
const TITLES: Readonly<Record<StrangersJob['way'], string>> = {
  passed: 'read an answer that is passed through',
  private: 'read a file of a private repo',
  upload: 'upload',
}

export const strangers: Work = {
  name: 'strangers',
  isGrowth: true,
  contestants: ['mirror'],
  async run(bench, [quiet]) {
    if (quiet === undefined) return
    const { world } = bench.hub
    world.addUser('stranger', { token: TOKEN })
    const large = bench.largeFile('strangers', 32 * MIB, 'invented')
    const secret = bench.largeFile('strangers-private', 32 * MIB, 'invented')
    world.model(secret.repo).private(['stranger'])
    const paths: Readonly<Record<StrangersJob['way'], string>> = {
      passed: `/${large.repo}/raw/main/${large.path}`,
      private: `/${secret.repo}/resolve/main/${secret.path}`,
      upload: `/${large.repo}/upload`,
    }
    for (const connections of bench.scale.strangers) {
      for (const way of WAYS) {
        for (const addresses of ['one', 'many'] as const) {
          await play(bench, quiet, { way, connections, addresses, path: paths[way] })
        }
      }
    }
  },
}

type Case = Pick<StrangersJob, 'way' | 'connections' | 'addresses'> & { readonly path: string }

async function play(bench: Bench, quiet: Server, how: Case): Promise<void> {
  const { way, connections, addresses } = how
  const id = `strangers-${way}-${connections}-${addresses}`
  const group = bench.reporter.group(
    id,
    `small files that are not stored, beside ${connections.toLocaleString('en')} slow connections from ${addresses} ${
      addresses === 'one' ? 'address' : 'addresses'
    } that ${TITLES[way]}`,
    {
      p50: p50(),
      p99: p99(),
      ratio: { title: 'p99 beside a mirror without strangers', unit: 'x', better: 'less', goal: atMost(2) },
      connected: { title: 'slow connections open at the end', unit: '', better: 'more' },
    },
  )
  await bench.serving(['mirror'], { settings: { HUBMIRROR_TRUST_PROXY: '127.0.0.1' } }, async ([busy]) => {
    if (busy === undefined) return
    const patience = bench.scale.deadlineSeconds + OPENS_SECONDS
    const slow = bench.track(new Client(patience))
    const prompt = bench.track(new Client(patience))
    try {
      await bench.once([quiet], group, () =>
        measureBeside(bench, { quiet, busy, slow, prompt }, { id, ...how }),
      )
    } finally {
      await slow.stop()
      await prompt.stop()
    }
  })
}

async function measureBeside(
  bench: Bench,
  who: { readonly quiet: Server; readonly busy: Server; readonly slow: Client; readonly prompt: Client },
  how: Case & { readonly id: string },
) {
  const { way, addresses, connections, id } = how
  const { strangersRequests } = bench.scale
  const warmUp = Math.min(MAX_WARM_UP, strangersRequests)
  const files = bench.publish(`bench/${id}`, smallFiles(warmUp + strangersRequests))
  const targets = [who.busy, who.quiet].map((server) => files.map((file) => bench.target(server, file)))
  const measure = (from: number, to: number) =>
    who.prompt.play({
      job: 'turns',
      method: 'GET',
      servers: targets.map((list) => list.slice(from, to)),
      pauseMs: PAUSE_MS,
    })
  await measure(0, warmUp)
  const job = {
    job: 'strangers',
    url: new URL(how.path, who.busy.fileUrl(files[0] ?? never())).href,
    way,
    addresses,
    seconds: bench.scale.slowSeconds,
    ...(way === 'private' ? { token: TOKEN } : {}),
  } as const
  await who.slow.play({ ...job, connections })
  const { lastByteMs } = await measure(warmUp, files.length)
  const { connected } = await who.slow.play({ ...job, connections: 0 })
  const [beside = never(), alone = never()] = lastByteMs
  return { p50: beside.p50, p99: beside.p99, ratio: beside.p99 / alone.p99, connected }
}

function smallFiles(count: number): Readonly<Record<string, string>> {
  return Object.fromEntries(Array.from({ length: count }, (_, index) => [`f${index}.json`, `[${index}]`]))
}

function never(): never {
  throw new Error('a run without figures')
}
