// With HUBMIRROR_OFFLINE=on no packet leaves: the system calls of all processes of the mirror, from its start to its end, show
// neither a connection nor a message to any address. What it does not have is refused so that clients do not try again.

import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { lfs, type World } from '../hub-simulator/repos.ts'
import { type Hub, startHub } from '../hub-simulator/server.ts'
import { ask, type Question } from '../support/ask.ts'
import { eventually } from '../support/eventually.ts'
import { gitClient, hasGit, whenStored } from '../support/git-client.ts'
import { mirrorWorld, TOKENS } from '../support/mirror-world.ts'
import { type Child, startChild } from '../support/process.ts'
import { whyNoStrace } from '../support/strace.ts'
import { childrenOf } from '../support/workers.ts'

const JSON_TYPE = { 'content-type': 'application/json' }
const noStrace = await whyNoStrace()
const ID = 'acme/open'
const GGUF = 'acme/gguf'
const DATASET = 'acme/table'
/** At the host of HF_ENDPOINT with `datasets-server.` before it. */
const AT_DATASETS_SERVER = { headers: { host: 'datasets-server.mirror.example:8080' } }
const ABOUT_DATASET = ['parquet', 'info', 'splits', 'size', 'is-valid', 'statistics', 'croissant-crumbs']
const OLLAMA = {
  headers: { 'user-agent': 'ollama/0.9', accept: 'application/vnd.docker.distribution.manifest.v2+json' },
}

let hub: Hub
let directory: string
let child: Child | undefined

/** With what the registry and the datasets-server describe. */
function networkWorld(): World {
  const world = mirrorWorld()
  world
    .model(GGUF)
    .commit({ 'model-Q4_K_M.gguf': lfs({ sizeBytes: 70_000, seed: 8 }), 'README.md': '# gguf\n' })
  world
    .dataset(DATASET)
    .commit(
      { 'default/train/0000.parquet': lfs({ sizeBytes: 1_000, seed: 9 }) },
      { branch: 'refs/convert/parquet' },
    )
  return world
}

beforeEach(async () => {
  hub = await startHub({ world: networkWorld() })
  directory = await mkdtemp(join(tmpdir(), 'hubmirror-network-'))
})

afterEach(async () => {
  // The mirror is the child of the tracer, which does not end it.
  for (const pid of child === undefined ? [] : await childrenOf(child.pid)) process.kill(pid, 'SIGKILL')
  await child?.stop()
  await hub.close()
  await rm(directory, { recursive: true, force: true })
})

/** Starts a mirror whose socket calls are recorded from its first instruction on. Its origin has a name, which DNS would look up. */
async function start(env: Readonly<Record<string, string>>): Promise<Child> {
  const origin = new URL(hub.url)
  origin.hostname = 'localhost'
  const calls = 'trace=socket,connect,sendto,sendmsg,sendmmsg'
  child = await startChild({
    hub,
    cacheDir: join(directory, 'store'),
    // Without HOME, the C library looks up the user, perhaps in a directory on the network.
    env: {
      HOME: directory,
      HUBMIRROR_ORIGIN: origin.href,
      HUBMIRROR_DATASETS_SERVER: hub.datasetsServerUrl,
      HUBMIRROR_CACHE_PRIVATE: 'on',
      ...env,
    },
    under: ['strace', '-f', '-o', join(directory, 'calls'), '-e', calls],
  })
  return child
}

/** Ends it by SIGTERM. Returns the recorded calls that have to do with the network. */
async function stop({ pid, ended }: Child): Promise<string[]> {
  const [mirror = 0] = await childrenOf(pid)
  process.kill(mirror, 'SIGTERM')
  expect(await ended).toBe(0)
  child = undefined
  const lines = (await readFile(join(directory, 'calls'), 'utf8')).split('\n')
  // Sockets between processes of one machine have names in the file system. One to ask for a name of the network has one there, too.
  const isWithin = (line: string) => /AF_UNIX|AF_LOCAL/.test(line) && !/nscd|resolve|systemd/.test(line)
  // To listen takes a socket. A socket for datagrams, or for questions about interfaces, is for something else.
  const isListener = (line: string) => /socket\(AF_INET6?, SOCK_STREAM/.test(line)
  // Without an address, a message goes to the client that has connected.
  const isAnswer = (line: string) => /send(?:to|m?msg)\(/.test(line) && !/sa_family=AF_INET|sin6?_/.test(line)
  return lines.filter(
    (line) =>
      /\b(?:socket|connect|sendto|sendmsg|sendmmsg)\(/.test(line) &&
      !isWithin(line) &&
      !isListener(line) &&
      !isAnswer(line),
  )
}

const batch = (operation: string) =>
  JSON.stringify({ operation, transfers: ['basic'], objects: [{ oid: 'a'.repeat(64), size: 5 }] })

interface Stored {
  /** The newest one. */
  readonly commit: string
  /** The sha256 of a blob of the registry. */
  readonly gguf: string
}

/** The work of clients: what is stored, and what is not. */
function questions({
  commit,
  gguf,
}: Stored): readonly (readonly [target: string, stored: boolean, question?: Question])[] {
  const paths = { method: 'POST', headers: JSON_TYPE, body: JSON.stringify({ paths: ['config.json'] }) }
  return [
    [`/api/models/${ID}`, true],
    [`/api/models/${ID}/revision/main`, true],
    [`/api/models/${ID}/revision/${commit}`, true],
    [`/api/models/${ID}/tree/main?recursive=true`, true],
    [`/api/models/${ID}/paths-info/main`, true, paths],
    [`/api/models/${ID}/refs`, true],
    ['/api/models?search=open', true],
    [`/${ID}/resolve/main/config.json`, true, { method: 'HEAD' }],
    [`/${ID}/resolve/main/config.json`, true],
    [`/${ID}/resolve/${commit}/w.bin`, true],
    [`/${ID}/resolve/main/w.bin`, true, { headers: { range: 'bytes=5-14' } }],
    [`/v2/${GGUF}/manifests/Q4_K_M`, true, OLLAMA],
    [`/v2/${GGUF}/blobs/sha256:${gguf}`, true, { method: 'HEAD' }],
    [`/v2/${GGUF}/blobs/sha256:${gguf}`, true],
    [`/api/datasets/${DATASET}`, true],
    ...ABOUT_DATASET.map((word) => [`/${word}?dataset=${DATASET}`, true, AT_DATASETS_SERVER] as const),
    [`/first-rows?dataset=${DATASET}&config=default&split=train`, false, AT_DATASETS_SERVER],
    ['/parquet?dataset=acme/data', false, AT_DATASETS_SERVER],
    [`/${ID}/resolve/main/none.txt`, false],
    ['/acme/secret/resolve/main/config.json', false, { token: TOKENS.alice }],
    ['/api/models/acme/secret', false, { token: TOKENS.alice }],
    ['/acme/unknown/resolve/main/config.json', false],
    ['/api/datasets/acme/data', false],
    ['/api/spaces?search=demo', false],
    ['/api/whoami-v2', false, { token: TOKENS.alice }],
    ['/api/agent-harnesses', false],
    ['/api/models/acme/odd/commits/main', false],
    ['/acme/odd/info/refs?service=git-upload-pack', false],
    [
      `/${ID}.git/info/lfs/objects/batch`,
      false,
      { method: 'POST', headers: JSON_TYPE, body: batch('download') },
    ],
    [
      `/${ID}.git/info/lfs/objects/batch`,
      false,
      { method: 'POST', headers: JSON_TYPE, body: batch('upload') },
    ],
    [`/v2/${ID}/manifests/latest`, false],
    [
      `/api/models/${ID}/commit/main`,
      false,
      { method: 'POST', token: TOKENS.alice, headers: JSON_TYPE, body: '{}' },
    ],
    ['/api/repos/create', false, { method: 'POST', token: TOKENS.alice, headers: JSON_TYPE, body: '{}' }],
    [`/api/models/${ID}/xet-read-token/main`, false],
    ['/docs', false],
  ]
}

async function fill(): Promise<Stored> {
  const filler = await start({})
  const { url } = filler
  const main = (id: string) => hub.world.model(id).resolve('main')
  const stored = {
    commit: main(ID)?.id ?? '',
    gguf: main(GGUF)?.files.get('model-Q4_K_M.gguf')?.lfs?.sha256 ?? '',
  }
  const wanted = questions(stored).filter(([, isStored]) => isStored)
  for (const [target, , question] of wanted) {
    const { status } = await ask(url, target, question)
    expect([target, status < 300]).toEqual([target, true])
  }
  await ask(url, '/acme/secret/resolve/main/config.json', { token: TOKENS.alice })
  await eventually(
    async () => (await ask(url, `/${ID}/resolve/main/w.bin`)).headers['x-cache'],
    (word) => word === 'HIT',
  )
  await eventually(
    async () => (await ask(url, `/v2/${GGUF}/blobs/sha256:${stored.gguf}`)).headers['x-cache'],
    (word) => word === 'HIT',
  )
  if (hasGit) {
    await (await gitClient()).ok(['clone', '--quiet', `${url}/${ID}`, 'first'])
    await whenStored(join(directory, 'store'))
  }
  const calls = await stop(filler)
  expect(
    calls.some((line) => line.includes('connect(')),
    'a connection is noticed',
  ).toBe(true)
  return stored
}

describe.skipIf(noStrace !== undefined)('an offline mirror', () => {
  it.each([1, 2])('with %i processes for clients sends nothing to any other machine', async (workers) => {
    const stored = await fill()
    hub.ledger.clear()
    const mirror = await start({ HUBMIRROR_OFFLINE: 'on', HUBMIRROR_WORKERS: String(workers) })
    for (const [target, isStored, question] of questions(stored)) {
      const { status, headers } = await ask(mirror.url, target, question)
      if (isStored) expect([target, status < 300]).toEqual([target, true])
      else {
        // 408, 429 and 5xx would be repeated.
        expect([target, status >= 400 && status < 500 && status !== 408 && status !== 429]).toEqual([
          target,
          true,
        ])
        expect([target, headers['x-error-message'] ?? '']).toEqual([target, expect.stringMatching(/\w+ \w+/)])
      }
    }
    if (hasGit) {
      const client = await gitClient()
      await client.ok(['clone', '--quiet', `${mirror.url}/${ID}`, 'away'])
      expect(await client.ok(['rev-parse', 'HEAD'], 'away')).toBe(stored.commit)
    }
    for (const own of ['/healthz', '/readyz', '/metrics'])
      expect((await ask(mirror.url, own)).status).toBe(200)
    expect(await stop(mirror)).toEqual([])
    expect(hub.ledger.requests()).toEqual([])
  })
})
