// With HUBMIRROR_OFFLINE=on no packet leaves: the system calls of all processes of the mirror, from its start to its end, show
// neither a connection nor a message to any address. What it does not have is refused so that clients do not try again.

import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Hub, startHub } from '../hub-simulator/server.ts'
import { ask, type Question } from '../support/ask.ts'
import { eventually } from '../support/eventually.ts'
import { mirrorWorld, TOKENS } from '../support/mirror-world.ts'
import { type Child, startChild } from '../support/process.ts'
import { whyNoStrace } from '../support/strace.ts'
import { childrenOf } from '../support/workers.ts'

const JSON_TYPE = { 'content-type': 'application/json' }
const noStrace = await whyNoStrace()

let hub: Hub
let directory: string
let child: Child | undefined

beforeEach(async () => {
  hub = await startHub({ world: mirrorWorld() })
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
    env: { HOME: directory, HUBMIRROR_ORIGIN: origin.href, HUBMIRROR_CACHE_PRIVATE: 'on', ...env },
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

const ID = 'acme/open'
const batch = (operation: string) =>
  JSON.stringify({ operation, transfers: ['basic'], objects: [{ oid: 'a'.repeat(64), size: 5 }] })

/** The work of clients: what is stored, and what is not. */
function questions(
  commit: string,
): readonly (readonly [target: string, stored: boolean, question?: Question])[] {
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
    [`/${ID}/resolve/main/none.txt`, false],
    ['/acme/secret/resolve/main/config.json', false, { token: TOKENS.alice }],
    ['/api/models/acme/secret', false, { token: TOKENS.alice }],
    ['/acme/unknown/resolve/main/config.json', false],
    ['/api/datasets/acme/data', false],
    ['/api/datasets?search=data', false],
    ['/api/whoami-v2', false, { token: TOKENS.alice }],
    ['/api/agent-harnesses', false],
    [`/api/models/${ID}/commits/main`, false],
    [`/${ID}/info/refs?service=git-upload-pack`, false],
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

async function fill(): Promise<string> {
  const filler = await start({})
  const { url } = filler
  const commit = hub.world.model(ID).resolve('main')?.id ?? ''
  const wanted = questions(commit).filter(([, stored]) => stored)
  for (const [target, , question] of wanted) await ask(url, target, question)
  await ask(url, '/acme/secret/resolve/main/config.json', { token: TOKENS.alice })
  await eventually(
    async () => (await ask(url, `/${ID}/resolve/main/w.bin`)).headers['x-cache'],
    (word) => word === 'HIT',
  )
  const calls = await stop(filler)
  expect(
    calls.some((line) => line.includes('connect(')),
    'a connection is noticed',
  ).toBe(true)
  return commit
}

describe.skipIf(noStrace !== undefined)('an offline mirror', () => {
  it.each([1, 2])('with %i processes for clients sends nothing to any other machine', async (workers) => {
    const commit = await fill()
    hub.ledger.clear()
    const mirror = await start({ HUBMIRROR_OFFLINE: 'on', HUBMIRROR_WORKERS: String(workers) })
    for (const [target, stored, question] of questions(commit)) {
      const { status, headers } = await ask(mirror.url, target, question)
      if (stored) expect([target, status < 300]).toEqual([target, true])
      else {
        // 408, 429 and 5xx would be repeated.
        expect([target, status >= 400 && status < 500 && status !== 408 && status !== 429]).toEqual([
          target,
          true,
        ])
        expect([target, headers['x-error-message'] ?? '']).toEqual([target, expect.stringMatching(/\w+ \w+/)])
      }
    }
    for (const own of ['/healthz', '/readyz', '/metrics'])
      expect((await ask(mirror.url, own)).status).toBe(200)
    expect(await stop(mirror)).toEqual([])
    expect(hub.ledger.requests()).toEqual([])
  })
})
