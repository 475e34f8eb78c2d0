// SIGHUP to a running mirror: the current settings file takes effect in every process of the mirror.

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { Agent } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { probe } from '../hub-simulator/probe.ts'
import { lfs, World } from '../hub-simulator/repos.ts'
import { type Hub, startHub } from '../hub-simulator/server.ts'
import { eventually } from '../support/eventually.ts'
import { type Child, startChild } from '../support/process.ts'
import { metricValue } from '../support/start-mirror.ts'

const FILE = '/acme/open/resolve/main'
const READ = 'the settings and the list of mirror tokens were read again'
const WRONG = 'the settings are wrong; nothing has changed'

let hub: Hub
let folder: string
let children: Child[] = []

beforeEach(async () => {
  const world = new World()
  world.model('acme/open').commit({
    'small.json': '{"small":true}',
    'other.json': '{"other":true}',
    ...Object.fromEntries(
      [1, 2, 3].map((seed) => [`m${seed}.bin`, lfs({ sizeBytes: 1_000_000, seed })] as const),
    ),
  })
  hub = await startHub({ world })
  folder = await mkdtemp(join(tmpdir(), 'hubmirror-reload-'))
})

afterEach(async () => {
  for (const child of children) await child.stop()
  children = []
  await hub.close()
  await rm(folder, { recursive: true, force: true })
})

const entries = (child: Child, msg: string) => child.entries().filter((entry) => entry['msg'] === msg)

/** Starts a mirror with a settings file, and returns what it reports about the next file. */
async function withFile(text: string, env: Record<string, string>) {
  const path = join(folder, 'hubmirror.yaml')
  const audit = join(folder, 'audit.log')
  await writeFile(path, text)
  const child = await startChild({
    hub,
    cacheDir: join(folder, 'cache'),
    env: { HUBMIRROR_CONFIG: path, HUBMIRROR_AUDIT_LOG: audit, ...env },
  })
  children.push(child)
  const reload = async (next: string, msg: string): Promise<Record<string, unknown>> => {
    const before = entries(child, msg).length
    await writeFile(path, next)
    child.kill('SIGHUP')
    const found = await eventually(
      () => entries(child, msg),
      ({ length }) => length > before,
    )
    return found.at(-1) ?? {}
  }
  const reloads = async () =>
    (await readFile(audit, 'utf8'))
      .split('\n')
      .filter((line) => line.includes('"act":"reload"'))
      .map((line) => JSON.parse(line) as Record<string, unknown>)
  return { child, path, reload, reloads }
}

describe.each([1, 2])('SIGHUP to a mirror of %i processes that answer', (workers) => {
  const env = { HUBMIRROR_WORKERS: String(workers) }

  it('changes rules, networks and limits for requests that come after it', async () => {
    const ttls = 'accessTtl: 1h\nrefTtl: 1h\n'
    const { child, reload, reloads } = await withFile(ttls, env)
    const agents = [1, 2, 3, 4].map(() => new Agent({ keepAlive: true, maxSockets: 1 }))
    const ask = (path: string) => Promise.all(agents.map((agent) => probe(child.url + path, { agent })))
    const told = async (path: string) => [
      ...new Set(
        (await ask(path)).map(({ status, headers }) => `${status} ${String(headers['x-error-code'])}`),
      ),
    ]
    const small = `${FILE}/small.json`
    // Cached everywhere: repeated without a question, by the early read.
    for (let round = 0; round < 5; round += 1) expect(await told(small)).toEqual(['200 undefined'])

    const rule = 'policies:\n  - {name: no-json, action: deny, match: {file: "*.json"}}\n'
    expect(await reload(ttls + rule, READ)).toMatchObject({ changed: ['policies'] })
    expect(await told(small)).toEqual(['403 GatedRepo'])
    expect(await reload(ttls, READ)).toMatchObject({ changed: ['policies'] })
    for (let round = 0; round < 5; round += 1) expect(await told(small)).toEqual(['200 undefined'])

    await reload(`${ttls}clients: {deny: 127.0.0.0/8}\n`, READ)
    expect(await told(small)).toEqual(['403 GatedRepo'])
    expect(await told('/healthz')).toEqual(['200 undefined'])
    await reload(`${ttls}clients: {rateLimit: 1/1h}\nwrites: deny\n`, READ)
    expect((await ask(`${FILE}/other.json`)).map(({ status }) => status)).toContain(429)
    const upload = await probe(`${child.url}/api/repos/create`, { method: 'POST', body: '{}' })
    expect(upload.status).toBe(403)
    expect((await reloads()).map(({ result, changed }) => [result, changed])).toEqual([
      ['done', ['policies']],
      ['done', ['policies']],
      ['done', ['clients.deny']],
      ['done', ['clients.deny', 'clients.rateLimit', 'writes']],
    ])
    for (const agent of agents) agent.destroy()
  })

  it('changes TTLs, the size of the store and the log level, and names the settings that need a restart', async () => {
    const { child, reload } = await withFile('accessTtl: 1h\nrefTtl: 1h\n', env)
    for (const name of ['m1.bin', 'm2.bin', 'm3.bin'])
      expect((await probe(`${child.url}${FILE}/${name}`)).status).toBe(200)
    const metrics = async () => (await probe(`${child.url}/metrics`)).body.toString()
    await eventually(metrics, (text) => metricValue(text, 'hubmirror_cache_blobs') === 3)
    hub.ledger.clear()
    expect((await probe(`${child.url}${FILE}/m1.bin`)).headers['x-cache']).toBe('HIT')
    expect(hub.ledger.requests()).toEqual([])

    const next =
      'accessTtl: 0s\nrefTtl: 0s\nlogLevel: debug\ncache: {maxSize: 1500kB, private: on}\nport: 1\n'
    expect(await reload(next, READ)).toMatchObject({
      changed: ['cache.maxSize', 'refTtl', 'accessTtl', 'logLevel'],
    })
    const [warning] = await eventually(
      () => entries(child, 'these settings have changed and need a restart'),
      ({ length }) => length > 0,
    )
    // The port is that of the environment here, which wins.
    expect(warning).toMatchObject({ level: 'warn', settings: ['cache.private'] })
    await eventually(metrics, (text) => metricValue(text, 'hubmirror_cache_blobs') === 1)
    expect(metricValue(await metrics(), 'hubmirror_cache_limit_bytes')).toBe(1_500_000)
    await probe(`${child.url}${FILE}/small.json`)
    hub.ledger.clear()
    await probe(`${child.url}${FILE}/small.json`)
    expect(hub.ledger.requests().length).toBeGreaterThan(0)
    // Probes are logged as debug.
    await eventually(
      () => child.entries(),
      (all) => all.some(({ route, level }) => route === 'ops' && level === 'debug'),
    )
  })

  it('changes nothing if the file is wrong, and reports the fault', async () => {
    const rule = 'policies:\n  - {name: no-json, action: deny, match: {file: "*.json"}}\n'
    const { child, path, reload, reloads } = await withFile(rule, env)
    const status = async () => (await probe(`${child.url}${FILE}/small.json`)).status
    expect(await status()).toBe(403)
    const wrong = `accessTtl: soon\nacessTtl: 1m\ntoken: hf_${'x'.repeat(40)} y\npolicies: []\n`
    const told = await reload(wrong, WRONG)
    expect(told).toMatchObject({ level: 'error' })
    const faults = told['faults'] as Record<string, string>[]
    expect(faults.find(({ key }) => key === 'accessTtl')).toEqual({
      key: 'accessTtl',
      source: 'file',
      where: `${path}:1:12`,
      value: 'soon',
      cure: expect.stringContaining('90s'),
    })
    expect(faults.find(({ key }) => key === 'acessTtl')?.['cure']).toContain('did you mean accessTtl')
    expect(child.log()).not.toContain('x'.repeat(20))
    expect(await status()).toBe(403)
    await reload('accessTtl: [\n', WRONG)
    await rm(path)
    const before = entries(child, WRONG).length
    child.kill('SIGHUP')
    await eventually(
      () => entries(child, WRONG).length,
      (count) => count > before,
    )
    expect(await status()).toBe(403)
    expect((await reloads()).map(({ result }) => result)).toEqual(['refused', 'refused', 'refused'])
    expect(await reload('policies: []\n', READ)).toMatchObject({ changed: ['policies'] })
    expect(await status()).toBe(200)
  })
})

describe('SIGHUP', () => {
  it('never ends a mirror, even if it is repeated or there is no settings file', async () => {
    const child = await startChild({ hub, cacheDir: join(folder, 'cache') })
    children.push(child)
    for (let count = 0; count < 50; count += 1) child.kill('SIGHUP')
    await eventually(
      () => entries(child, READ).length,
      (count) => count > 0,
    )
    expect((await probe(`${child.url}${FILE}/small.json`)).status).toBe(200)
  })
})
