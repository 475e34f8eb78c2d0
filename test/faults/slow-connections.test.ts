// Many slow connections of anonymous callers, and what all other callers get: quick requests are answered though all slow turns
// are taken, slow turns are shared between callers, and a client that leaves gives its turn back.

import type { IncomingMessage } from 'node:http'
import { connect, type Socket } from 'node:net'
import { describe, expect, it, onTestFinished } from 'vitest'
import { lfs } from '../hub-simulator/repos.ts'
import { open, type Question } from '../support/ask.ts'
import { eventually } from '../support/eventually.ts'
import { openUpload } from '../support/lfs-upload.ts'
import { mirrorWorld, TOKENS } from '../support/mirror-world.ts'
import { openScene, type Scene, type SceneOptions } from '../support/scene.ts'
import { metricValue } from '../support/start-mirror.ts'

const CONNECTIONS = 16
/** Of these: what all relays together may have, and one caller of them. */
const RELAYS = 8
const RELAYS_OF_ONE = 6
const MANY = 70
/** Too long to be held in memory. */
const LONG_BYTES = 3_000_000

const longText = (index: number) => `/acme/many/raw/main/${index}.txt`
const from = (caller: number | string) => ({
  'x-forwarded-for': typeof caller === 'number' ? `10.0.0.${caller}` : caller,
})

async function openBusyScene(options: Pick<SceneOptions, 'hub'> = {}): Promise<Scene> {
  const world = mirrorWorld()
  const repo = world.model('acme/many')
  repo.commit({ '0.txt': 'x'.repeat(LONG_BYTES), 'w.bin': lfs({ sizeBytes: LONG_BYTES, seed: 7 }) })
  world
    .model('acme/hidden')
    .private(['alice'])
    .commit({
      'w.bin': lfs({ sizeBytes: LONG_BYTES, seed: 8 }),
      'small.bin': lfs({ sizeBytes: 600_000, seed: 9 }),
    })
  return openScene({
    ...options,
    world,
    config: { originConnections: CONNECTIONS, trustProxy: ['127.0.0.1'] },
    busy: true,
  })
}

/** Starts `count` requests whose answers are not read; each answer that begins is in the list. They end with the test. */
function hold(
  scene: Scene,
  count: number,
  target: (index: number) => string,
  question: (index: number) => Question,
): { readonly begun: IncomingMessage[]; readonly leave: () => void } {
  const begun: IncomingMessage[] = []
  let hasLeft = false
  const asked = Array.from({ length: count }, (_, index) =>
    open(scene.mirror.url, target(index), question(index)).then(
      (answer) => {
        answer.on('error', () => undefined)
        begun.push(answer)
        if (hasLeft) answer.destroy()
      },
      () => undefined,
    ),
  )
  const leave = (): void => {
    hasLeft = true
    for (const answer of begun) answer.destroy()
  }
  onTestFinished(async () => {
    leave()
    scene.hub.faults.clear()
    await Promise.all(asked)
  })
  return { begun, leave }
}

async function figure(scene: Scene, name: string): Promise<number> {
  return metricValue(await scene.mirror.metrics(), name) ?? 0
}
const used = (kind: string) => `hubmirror_origin_connections_in_progress{kind="${kind}"}`
const waiting = (kind: string) => `hubmirror_origin_waits_in_progress{kind="${kind}"}`

/** What must be answered, however slow other callers are. */
async function expectQuickWork(scene: Scene): Promise<void> {
  const other = { headers: from('192.0.2.1') }
  const got = [
    await scene.ask('/acme/open/resolve/main/README.md', other),
    await scene.ask('/acme/open/resolve/main/config.json', { ...other, method: 'HEAD' }),
    await scene.ask('/acme/open/resolve/main/w.bin', other),
    await scene.ask('/api/models/acme/open', other),
    await scene.ask('/api/models/acme/open/tree/main', other),
    await scene.ask('/acme/secret/resolve/main/config.json', { ...other, token: TOKENS.alice }),
    await scene.ask('/acme/secret/resolve/main/w.bin', { ...other, token: TOKENS.alice }),
    await scene.ask('/api/organizations/acme/overview', other),
  ]
  expect(got.map(({ status, whole }) => [status, whole])).toEqual(got.map(() => [200, true]))
  await scene.settled()
  // These are stored now. A request of a stored file asks the Hub only what the branch is, once its TTL is over. If that question
  // had to wait, the file would be served as STALE.
  for (const path of ['README.md', 'w.bin']) {
    for (const how of ['HIT', 'REVALIDATED']) {
      if (how === 'REVALIDATED') scene.clock.advance(scene.mirror.config.refTtlMs + 1)
      const { status, headers } = await scene.ask(`/acme/open/resolve/main/${path}`, other)
      expect([path, status, headers['x-cache']]).toEqual([path, 200, how])
    }
  }
}

const CROWDS = [
  ['one address', () => from(7)],
  ['as many addresses', (index: number) => from(index)],
] as const

describe.each(CROWDS)(`${MANY} slow connections from %s`, (crowd, headers) => {
  const most = crowd === 'one address' ? RELAYS_OF_ONE : RELAYS

  it('that read passed-through answers keep to their share, and no quick request waits for them', async () => {
    const scene = await openBusyScene()
    scene.hub.faults.add({ where: 'hub', match: /\/raw\//, stallAfterBytes: 100_000, times: MANY })
    const { begun, leave } = hold(
      scene,
      MANY,
      () => longText(0),
      (index) => ({ headers: headers(index) }),
    )
    await eventually(
      () => begun.length,
      (count) => count === MANY,
    )
    const [served, refused] = [200, 0].map((ok) =>
      begun.filter(({ statusCode = 0 }) => (statusCode === 200) === (ok === 200)),
    )
    expect(served?.length).toBe(most)
    for (const answer of refused ?? []) {
      expect([429, 503]).toContain(answer.statusCode)
      // With any other status clients say "Rate limited" of it.
      if (answer.statusCode === 429) expect(Number(answer.headers['retry-after'])).toBeGreaterThanOrEqual(5)
      expect(answer.headers['x-error-message']).toMatch(/simultaneous transfers|in use/)
    }
    expect(await figure(scene, used('relay'))).toBe(most)
    await expectQuickWork(scene)
    expect(await figure(scene, used('relay'))).toBe(most)
    leave()
    await eventually(
      () => figure(scene, used('relay')),
      (count) => count === 0,
    )
  })

  it('that read private files keep to their share, and requests in the queue are dropped when their clients leave', async () => {
    const scene = await openBusyScene()
    scene.hub.faults.add({ where: 'cdn', match: /./, stallAfterBytes: 100_000, times: most })
    const sockets: Socket[] = []
    const { port } = new URL(scene.mirror.url)
    for (let index = 0; index < MANY; index += 1) {
      const socket = connect(Number(port), '127.0.0.1')
        .on('error', () => undefined)
        .pause()
      socket.write(
        `GET /acme/hidden/resolve/main/w.bin HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${TOKENS.alice}\r\nX-Forwarded-For: ${headers(index)['x-forwarded-for']}\r\n\r\n`,
      )
      sockets.push(socket)
    }
    await scene.hub.faults.whenStalled(most)
    await eventually(
      () => figure(scene, waiting('relay')),
      (count) => count > 0,
    )
    await expectQuickWork(scene)
    for (const socket of sockets) socket.destroy()
    await eventually(
      () => figure(scene, waiting('relay')),
      (count) => count === 0,
    )
    await eventually(
      () => figure(scene, used('relay')),
      (count) => count === 0,
    )
    const after = await scene.ask('/acme/hidden/resolve/main/w.bin', { token: TOKENS.alice })
    expect([after.status, after.body.equals(scene.bytes('acme/hidden', 'w.bin'))]).toEqual([200, true])
  })

  it.each([
    ['a question', 'POST', '/api/validate-yaml'],
    ['a commit', 'POST', '/api/models/alice/notes/commit/main'],
    ['a pull request', 'POST', '/api/models/alice/notes/commit/main?create_pr=1'],
    ['a push', 'POST', '/alice/notes.git/git-receive-pack'],
    ['an object of Git LFS', 'PUT', ''],
    ['a part of an object', 'PUT', 'part'],
  ] as const)(
    'that upload %s keep to their share, and no quick request waits for them',
    async (_what, method, route) => {
      const scene = await openBusyScene(route === 'part' ? { hub: { partBytes: LONG_BYTES } } : {})
      scene.world.model('alice/notes').commit({ 'x.txt': 'x' })
      const bytes = Buffer.alloc(route === 'part' ? 2 * LONG_BYTES : LONG_BYTES, 'an object')
      const isLink = route === '' || route === 'part'
      const upload = isLink ? await openUpload(scene, 'alice/notes', bytes) : undefined
      const target = upload === undefined ? route : route === 'part' ? upload.partTarget(1) : upload.target
      const { port } = new URL(scene.mirror.url)
      const sockets = Array.from({ length: MANY }, (_, index) => {
        const socket = connect(Number(port), '127.0.0.1').on('error', () => undefined)
        socket.write(
          `${method} ${target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${TOKENS.alice}\r\nContent-Type: application/json\r\nX-Forwarded-For: ${headers(index)['x-forwarded-for']}\r\nContent-Length: ${LONG_BYTES}\r\n\r\n{`,
        )
        return socket
      })
      onTestFinished(() => sockets.forEach((socket) => socket.destroy()))
      await eventually(
        () => figure(scene, waiting('relay')),
        (count) => count > 0,
      )
      expect(await figure(scene, used('relay'))).toBe(most)
      await expectQuickWork(scene)
      for (const socket of sockets) socket.destroy()
      await eventually(
        () => figure(scene, used('relay')),
        (count) => count === 0,
      )
      expect(await figure(scene, waiting('relay'))).toBe(0)
      expect(
        (await scene.ask('/api/validate-yaml', { method: 'POST', body: '{"content":"x"}' })).status,
      ).toBe(200)
      if (upload === undefined) return
      // None of them has made the mirror forget what the link is for.
      const sent =
        route === 'part' ? await upload.part(1, bytes.subarray(0, LONG_BYTES)) : await upload.put(bytes)
      expect(sent.status).toBe(200)
    },
  )
})

describe('another caller', () => {
  it('gets its turn before requests of a caller that has sent many more', async () => {
    const scene = await openBusyScene()
    // The first are held, from that caller and another one; later callers are not.
    scene.hub.faults.add({ where: 'cdn', stallAfterBytes: 100_000, times: RELAYS })
    const ask = (caller: number) => () => ({ headers: from(caller), token: TOKENS.alice })
    const target = () => '/acme/hidden/resolve/main/w.bin'
    hold(scene, RELAYS_OF_ONE, target, ask(1))
    await scene.hub.faults.whenStalled(RELAYS_OF_ONE)
    hold(scene, 1, target, ask(2))
    await scene.hub.faults.whenStalled(RELAYS_OF_ONE + 1)
    hold(scene, 1, target, ask(3))
    await scene.hub.faults.whenStalled(RELAYS)
    hold(scene, 40, target, ask(1))
    await eventually(
      () => figure(scene, waiting('relay')),
      (count) => count === 40,
    )
    const before = scene.hub.ledger.requests({ server: 'cdn' }).length
    const got = scene.ask(target(), { headers: from(9), token: TOKENS.alice })
    await eventually(
      () => figure(scene, waiting('relay')),
      (count) => count === 41,
    )
    scene.hub.faults.release()
    expect((await got).status).toBe(200)
    // The first caller may have had all its connections once more, and not the forty that it had asked for.
    expect(scene.hub.ledger.requests({ server: 'cdn' }).length - before).toBeLessThan(41)
  })
})

describe('a short answer', () => {
  it('has released its connection before its client has read it, for private files and for passed-through answers', async () => {
    const scene = await openBusyScene()
    const sockets: Socket[] = []
    onTestFinished(() => sockets.forEach((socket) => socket.destroy()))
    const { port } = new URL(scene.mirror.url)
    for (let index = 0; index < 40; index += 1) {
      const target =
        index % 2 === 0 ? '/acme/hidden/resolve/main/small.bin' : '/acme/hidden/raw/main/small.bin'
      const socket = connect(Number(port), '127.0.0.1')
        .on('error', () => undefined)
        .pause()
      socket.write(
        `GET ${target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${TOKENS.alice}\r\nX-Forwarded-For: 10.0.0.7\r\n\r\n`,
      )
      sockets.push(socket)
    }
    await scene.hub.ledger.whenDone({ server: 'cdn', method: 'GET' }, 20)
    await scene.hub.ledger.whenDone({ server: 'hub', url: /raw/ }, 20)
    await eventually(
      () => figure(scene, used('question')),
      (count) => count === 0,
    )
    expect(await figure(scene, used('relay'))).toBe(0)
  })
})
