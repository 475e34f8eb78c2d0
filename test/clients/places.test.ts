// Clients of the mirror at each place where it may stand: below a path prefix, with and without a slash at the end of
// HF_ENDPOINT, at an address of IPv6, with TLS of its own, and behind the proxies of docs/deploy.md with TLS.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it, onTestFinished } from 'vitest'
import { PROGRAMS, startFront } from '../deploy/fronts.ts'
import { GOOD_CERTIFICATE, SERVER_KEY, TEST_CA } from '../support/certificates.ts'
import { type Caller, hubEnvironment, python } from './support/python.ts'
import { run } from './support/run.ts'
import { commitOf, digestsOf, expectManners, type Scene, useScene } from './support/scene.ts'
import { commandOf, describeClient, pythonOf } from './support/tools.ts'
import { clientWorld, TOKENS } from './support/world.ts'

const folder = mkdtempSync(join(tmpdir(), 'hubmirror-places-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function fileOf(name: string, text: string): string {
  const path = join(folder, name)
  writeFileSync(path, text, { mode: 0o600 })
  return path
}

const ca = fileOf('ca.pem', TEST_CA)
const PREFIX = { HUBMIRROR_BASE_PATH: '/hugging-face' }
const TLS = {
  HUBMIRROR_TLS_CERT: fileOf('tls.crt', GOOD_CERTIFICATE),
  HUBMIRROR_TLS_KEY: fileOf('tls.key', SERVER_KEY),
}

interface Place {
  readonly name: string
  readonly env: Readonly<Record<string, string>>
  /** What follows the address in HF_ENDPOINT. */
  readonly path: string
  /** Who plays there: generations of both HTTP libraries, httpx (2 and 1) and requests (0). */
  readonly clients: readonly string[]
}

const OWN_PLACES = 'it puts its mirrors into places of its own'

const PLACES: readonly Place[] = [
  { name: 'below a prefix', env: PREFIX, path: '/hugging-face', clients: ['hub-2', 'hub-0'] },
  {
    name: 'at an address of IPv6 below a prefix, with a slash at the end',
    env: { HUBMIRROR_HOST: '::1', ...PREFIX },
    path: '/hugging-face/',
    clients: ['hub-1', 'hub-0'],
  },
  { name: 'with TLS of its own', env: TLS, path: '', clients: ['hub-2', 'hub-0'] },
  {
    name: 'with TLS of its own by two processes, below a prefix',
    env: { ...TLS, ...PREFIX, HUBMIRROR_WORKERS: '2' },
    path: '/hugging-face/',
    clients: ['hub-1'],
  },
]

/** Plays what a user does first, and compares what came of it with what the Hub has. */
async function expectService(scene: Scene, client: string, caller: Caller): Promise<void> {
  const digests = (repo: string) => digestsOf(scene.hub.world, repo)
  expect(await python(scene, client, 'place.py', [TOKENS.alice], caller)).toEqual({
    snapshot: { commit: commitOf(scene.hub.world, 'acme/tiny'), files: digests('acme/tiny') },
    large: digests('acme/large')['large.bin'],
    'private, anonymous': 'RepositoryNotFoundError',
    'gated, anonymous': 'GatedRepoError',
    'no such file': expect.stringMatching(/EntryNotFoundError$/) as unknown,
    'no such revision': 'RevisionNotFoundError',
    who: 'alice',
    private: digests('acme/secret')['config.json'],
    files: Object.keys(digests('acme/many')).length,
  })
  expectManners(scene.hub)
}

describe.each(PLACES)('a mirror $name', ({ env, path, clients }) => {
  const scene = useScene(clientWorld, { env })

  describeClient(
    `and huggingface_hub (${clients.join(', ')})`,
    clients.map(pythonOf),
    () => {
      it('serves files, snapshots, listings and refusals, and lets its user log in', async () => {
        const caller = { endpoint: scene().mirror.url + path, authority: ca }
        for (const client of clients) await expectService(scene(), client, caller)
      })
    },
    { onlyAtRoot: OWN_PLACES },
  )
})

describeClient(
  'a mirror with TLS of its own and the command line',
  [commandOf('hub-2', 'hf')],
  () => {
    const scene = useScene(clientWorld, { env: TLS })

    it('serves a snapshot to it', async () => {
      const { hub, newHome } = scene()
      const done = await run(commandOf('hub-2', 'hf'), ['download', 'acme/tiny', '--local-dir', 'here'], {
        home: await newHome(),
        env: hubEnvironment(scene(), { authority: ca }),
      })
      expect(done.status, done.stdout + done.stderr).toBe(0)
      expectManners(hub)
    })
  },
  { onlyAtRoot: OWN_PLACES },
)

// The configurations of docs/deploy.md, with a certificate.
describe.each([
  ['nginx', { '/hugging-face': 'hub-2', '/hugging-face/': 'hub-0' }],
  ['HAProxy', { '/hugging-face/': 'hub-2' }],
  ['Caddy', { '/hugging-face': 'hub-0' }],
] as const)('a mirror below a prefix behind %s with TLS', (front, paths) => {
  const scene = useScene(clientWorld, { env: { ...PREFIX, HUBMIRROR_TRUST_PROXY: '127.0.0.1' } })

  describeClient(
    'and huggingface_hub',
    [PROGRAMS[front], ...Object.values(paths).map(pythonOf)],
    () => {
      it(`serves it at ${Object.keys(paths).join(' and ')}`, async () => {
        const proxy = await startFront(front, scene().mirror.url, { tls: true })
        onTestFinished(() => proxy.stop())
        for (const [path, client] of Object.entries(paths))
          await expectService(scene(), client, { endpoint: proxy.url + path, authority: ca })
      })
    },
    { setup: 'test/clients/setup.sh and test/deploy/setup.sh', onlyAtRoot: OWN_PLACES },
  )
})
