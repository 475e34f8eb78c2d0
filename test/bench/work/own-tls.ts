// What TLS costs: the mirror with TLS of its own, without, and behind an nginx that speaks TLS, as docs/deploy.md has it. A large
// stored file, a small one on kept connections, and a small one with a handshake for each request. wrk and curl are the clients.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { PROGRAMS, startFront } from '../../deploy/fronts.ts'
import { ask } from '../../support/ask.ts'
import { GOOD_CERTIFICATE, SERVER_KEY, TEST_CA } from '../../support/certificates.ts'
import type { Bench, Work } from '../bench.ts'
import { hubPaths, type Server } from '../contestants.ts'
import { CURL_SETUP, curl, hasCurl } from '../curl.ts'
import { bulkCosts, bulkValues, wall } from '../figures.ts'
import type { BenchFile } from '../files.ts'
import { rateSpecs, rateValues } from '../runs.ts'
import { sizeText } from '../scale.ts'
import { type Spawned, spawnMirror, untilUp, versionOf } from '../servers.ts'
import { hasWrk, WRK_SETUP, wrk } from '../wrk.ts'
import { CONNECTIONS, smallFile } from './small.ts'

export const ownTls: Work = {
  name: 'own-tls',
  isGrowth: true,
  // Started here: they differ in how they are reached.
  contestants: [],
  async run(bench) {
    if (!(await hasCurl())) return bench.reporter.lack(`curl is not installed: ${CURL_SETUP}`)
    if (!(await hasWrk())) return bench.reporter.lack(`wrk is not installed: ${WRK_SETUP}`)
    const folder = mkdtempSync(path.join(tmpdir(), 'hubmirror-own-tls-'))
    const files = {
      HUBMIRROR_TLS_CERT: path.join(folder, 'tls.crt'),
      HUBMIRROR_TLS_KEY: path.join(folder, 'tls.key'),
    }
    const caFile = path.join(folder, 'ca.pem')
    writeFileSync(files.HUBMIRROR_TLS_CERT, GOOD_CERTIFICATE)
    writeFileSync(files.HUBMIRROR_TLS_KEY, SERVER_KEY, { mode: 0o600 })
    writeFileSync(caFile, TEST_CA)
    const servers: Server[] = []
    try {
      servers.push(bench.track(await started(bench, 'mirror', {})))
      servers.push(bench.track(await started(bench, 'ownTls', files)))
      const hasNginx = await versionOf(PROGRAMS.nginx, ['-v']).catch(() => undefined)
      if (hasNginx === undefined) bench.reporter.lack('nginx is not installed: bash nginx-compare/setup.sh')
      else servers.push(bench.track(await behindNginx(bench)))
      await askLarge(bench, servers, caFile)
      await askSmall(bench, servers, caFile)
    } finally {
      for (const server of servers) await server.stop()
      rmSync(folder, { recursive: true, force: true })
    }
  },
}

async function started(
  bench: Bench,
  name: 'mirror' | 'ownTls',
  settings: Readonly<Record<string, string>>,
): Promise<Server> {
  const spawned = await spawnMirror(bench.hub, settings)
  const server: Spawned =
    name === 'mirror' ? spawned : { ...spawned, url: spawned.url.replace('http:', 'https:') }
  await untilUp(server, (url) =>
    ask(url, '/healthz').then(
      () => true,
      () => false,
    ),
  )
  return hubPaths(name, server)
}

async function behindNginx(bench: Bench): Promise<Server> {
  const behind = await spawnMirror(bench.hub, { HUBMIRROR_TRUST_PROXY: '127.0.0.1' })
  await untilUp(behind)
  const front = await startFront('nginx', behind.url, { tls: true })
  const stop = async () => {
    await front.stop()
    await behind.stop()
  }
  return { ...hubPaths('tlsFront', { pid: behind.pid, url: front.url, stop }), frontPid: front.pid }
}

/** Lets the servers store the file, and checks its size there. */
async function store(
  servers: readonly Server[],
  file: BenchFile,
  how: Parameters<typeof curl>[1],
): Promise<void> {
  for (const server of servers) await curl(server.fileUrl(file), how)
}

async function askLarge(bench: Bench, servers: readonly Server[], caFile: string): Promise<void> {
  const { tlsBytes: sizeBytes, deadlineSeconds } = bench.scale
  const file = bench.largeFile('own-tls', sizeBytes)
  const how = { sizeBytes, caFile, deadlineSeconds }
  await store(servers, file, how)
  const title = `stored file of ${sizeText(sizeBytes)} by curl, plain HTTP and TLS`
  const group = bench.reporter.group('own-tls-large', title, { wall: wall(), ...bulkCosts() })
  await bench.rounds(
    servers,
    group,
    async (server) => {
      const startedAt = performance.now()
      const { usage } = await bench.measure(server, () => curl(server.fileUrl(file), how))
      const seconds = (performance.now() - startedAt) / 1000
      return { wall: seconds, ...bulkValues(usage, { served: sizeBytes, file: sizeBytes }) }
    },
    { warmUp: true },
  )
}

async function askSmall(bench: Bench, servers: readonly Server[], caFile: string): Promise<void> {
  const file = smallFile(bench, 'own-tls')
  const { until, deadlineSeconds } = bench.scale
  await store(servers, file, { sizeBytes: file.content.sizeBytes, caFile, deadlineSeconds })
  // The connections begin with a handshake each, which takes long on a busy machine.
  const seconds = 'seconds' in until ? Math.ceil(until.seconds) : 2
  for (const isKept of [true, false]) {
    const group = bench.reporter.group(
      `own-tls-small-${isKept ? 'kept' : 'new'}`,
      `GET of a stored file of 4 KiB by wrk, ${CONNECTIONS} connections, ${
        isKept ? 'plain HTTP and TLS' : 'a new connection for each request'
      }`,
      rateSpecs(),
    )
    const headers = isKept ? [] : ['Connection: close']
    await bench.rounds(
      servers,
      group,
      async (server) => {
        const { result, usage } = await bench.measure(server, () =>
          wrk(server.fileUrl(file), { connections: CONNECTIONS, seconds, headers }),
        )
        return rateValues(usage, result, result.waits)
      },
      { warmUp: true },
    )
  }
}
