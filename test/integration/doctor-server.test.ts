// `hubmirror doctor --server`, in a process of its own, where a mirror runs before a simulated Hub.

import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type RequestListener, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { SERVER_FINDINGS, type ServerFindingId } from '../../src/doctor/findings-server.ts'
import { GOOD_CERTIFICATE, TEST_CA } from '../support/certificates.ts'
import { findingsOf } from '../support/findings.ts'
import { freePort } from '../support/free-port.ts'
import { run } from '../support/run-cli.ts'
import { openScene } from '../support/scene.ts'
import { startTlsFront } from '../support/tls-front.ts'

interface Line {
  readonly id: string
  readonly status: string
  readonly message: string
  readonly cure: string
}

const findingOf = findingsOf(SERVER_FINDINGS)

describe('hubmirror doctor --server', () => {
  const found = new Set<ServerFindingId | undefined>()

  async function opened() {
    const scene = await openScene()
    await scene.mirror.app.openControl()
    const folder = await mkdtemp(join(tmpdir(), 'hubmirror-doctor-'))
    onTestFinished(() => rm(folder, { recursive: true, force: true }))
    const doctor = async (env: Readonly<Record<string, string>> = {}) => {
      const { status, stdout, stderr } = await run(
        ['doctor', '--server', '--json', '--repo', 'acme/open', '--file', 'w.bin'],
        {
          HUBMIRROR_CACHE_DIR: scene.mirror.cacheDir,
          HUBMIRROR_ORIGIN: scene.hub.url,
          HUBMIRROR_REDIRECT_HOSTS: '127.0.0.2',
          ...env,
        },
      )
      expect(stderr).toBe('')
      const { ok, checks } = JSON.parse(stdout) as { ok: boolean; checks: Line[] }
      expect(status).toBe(ok ? 0 : 1)
      for (const line of checks) found.add(findingOf(line))
      const first = checks.find((line) => line.status === 'fail')
      return { checks, first, line: (id: string) => checks.find((line) => line.id === id) }
    }
    return { scene, folder, doctor }
  }

  it('finds nothing wrong beside a mirror that runs, and sends the Hub no credential', async () => {
    const { scene, doctor } = await opened()
    const { checks, line } = await doctor({ HF_TOKEN: 'hf_ofTheUser', HUBMIRROR_TOKEN: 'hf_ofTheMirror' })
    expect(checks.map(({ id, status }) => `${id} ${status}`)).toEqual([
      'settings ok',
      'store ok',
      'space ok',
      'mirror ok',
      'origin ok',
      'quota ok',
      'redirects ok',
      'speed ok',
    ])
    expect(line('redirects')?.message).toContain('127.0.0.2')
    expect(line('quota')?.message).toMatch(/"api"\), \d+ are left for \d+ s/)
    const sent = scene.hub.ledger.requests()
    expect(sent.length).toBeGreaterThan(1)
    expect(sent.map((entry) => scene.hub.ledger.credential(entry))).toEqual(sent.map(() => undefined))
  })

  it('names a redirect host that the settings do not allow, and does not go there', async () => {
    const { scene, doctor } = await opened()
    const { first } = await doctor({ HUBMIRROR_REDIRECT_HOSTS: '*.example.org' })
    expect(first?.id).toBe('redirects')
    expect(first?.cure).toContain('HUBMIRROR_REDIRECT_HOSTS=*.example.org,127.0.0.2.')
    expect(scene.hub.ledger.requests({ server: 'cdn' })).toEqual([])
  })

  it('says which of store and origin is wrong, and the cure', async () => {
    const { folder, doctor } = await opened()
    const closed = await doctor({ HUBMIRROR_ORIGIN: 'http://127.0.0.1:9' })
    expect([closed.first?.id, closed.line('speed')?.status]).toEqual(['origin', 'skip'])
    expect(closed.first?.message).toContain('ECONNREFUSED')

    const page = createServer((_, response) => {
      response.writeHead(200, { 'content-type': 'text/html' }).end('<html>Sign in</html>')
    })
    await new Promise<void>((resolve) => page.listen(0, '127.0.0.1', resolve))
    const { port } = page.address() as AddressInfo
    const portal = await doctor({ HUBMIRROR_ORIGIN: `http://127.0.0.1:${port}` })
    page.close()
    expect(portal.first?.message).toContain('a page that is not from a Hub')

    const long = createServer((request, response) => {
      const siblings = Array.from({ length: 200_000 }, () => ({ rfilename: 'a/long/name.bin' }))
      const isFile = request.url?.includes('/resolve/') === true
      response.writeHead(isFile ? 404 : 200, { 'content-type': 'application/json' })
      response.end(JSON.stringify({ id: 'acme/open', siblings }))
    })
    await new Promise<void>((resolve) => long.listen(0, '127.0.0.1', resolve))
    const { port: longPort } = long.address() as AddressInfo
    const large = await doctor({ HUBMIRROR_ORIGIN: `http://127.0.0.1:${longPort}` })
    long.close()
    expect([large.first, large.line('origin')?.status]).toEqual([undefined, 'ok'])

    const foreign = join(folder, 'foreign')
    await mkdir(foreign)
    await writeFile(join(foreign, 'thesis.txt'), 'mine')
    const other = await doctor({ HUBMIRROR_CACHE_DIR: foreign })
    expect([other.first?.id, other.line('mirror')?.status]).toEqual(['store', 'warn'])

    const missing = await doctor({ HUBMIRROR_CACHE_DIR: join(folder, 'missing'), HUBMIRROR_OFFLINE: 'on' })
    expect(missing.first).toBeUndefined()
    expect(missing.line('store')?.message).toContain('does not exist')
    expect(missing.line('origin')?.message).toContain('HUBMIRROR_OFFLINE is on')
  })

  it('says what else is wrong with the store, the mirror and the origin', async () => {
    const { scene, folder, doctor } = await opened()
    const low = await doctor({ HUBMIRROR_CACHE_MIN_FREE: '900TB' })
    expect([low.first, low.line('space')?.status]).toEqual([undefined, 'warn'])
    expect(low.line('space')?.message).toContain('less than HUBMIRROR_CACHE_MIN_FREE (900 TB)')

    const originOf = async (listener: RequestListener): Promise<string> => {
      const server = createServer(listener)
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      onTestFinished(() => void server.close())
      return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    }
    const json = (response: ServerResponse, status: number, headers = {}): void => {
      response.writeHead(status, { 'content-type': 'application/json', ...headers })
      response.end('{"id":"acme/open","siblings":[{"rfilename":"w.bin"}]}')
    }
    const failing = await originOf((_request, response) => json(response, 503))
    const fails = await doctor({ HUBMIRROR_ORIGIN: failing })
    expect([fails.first?.id, fails.first?.message]).toEqual(['origin', `${failing} answers 503.`])

    const front = await startTlsFront(scene.hub.url, GOOD_CERTIFICATE)
    onTestFinished(() => front.close())
    const unknown = await doctor({ HUBMIRROR_ORIGIN: front.url })
    expect([unknown.first?.id, unknown.first?.cure]).toEqual([
      'origin',
      expect.stringContaining('NODE_EXTRA_CA_CERTS'),
    ])
    await writeFile(join(folder, 'ca.pem'), TEST_CA)
    const known = await doctor({
      HUBMIRROR_ORIGIN: front.url,
      NODE_EXTRA_CA_CERTS: join(folder, 'ca.pem'),
    })
    expect(known.line('origin')?.status).toBe('ok')

    const empty = await originOf((_request, response) => json(response, 429, { ratelimit: '"api";r=0;t=99' }))
    const used = await doctor({ HUBMIRROR_ORIGIN: empty })
    expect([used.first?.id, used.first?.message]).toEqual([
      'quota',
      'The quota of requests without a token ("api") is used up for 99 s.',
    ])
    expect(used.line('redirects')?.message).toContain('can be read without a token (429)')

    const closed = `127.0.0.2:${await freePort()}`
    const leading = await originOf((request, response) => {
      if (request.url?.includes('/resolve/') !== true) json(response, 200)
      else response.writeHead(302, { location: `http://${closed}/w.bin` }).end()
    })
    const slow = await doctor({ HUBMIRROR_ORIGIN: leading })
    expect([slow.first?.id, slow.first?.message]).toEqual([
      'speed',
      `${closed} did not send w.bin (ECONNREFUSED).`,
    ])

    await scene.hub.stop()
    expect((await scene.ask('/api/models/acme/open')).status).toBe(502)
    expect((await doctor()).line('mirror')).toMatchObject({
      status: 'warn',
      message: expect.stringMatching(/is ready\. It says: origin: /) as unknown,
    })
    scene.mirror.app.drain()
    expect((await doctor()).line('mirror')).toMatchObject({
      status: 'fail',
      message: expect.stringContaining('is not ready: serving: draining') as unknown,
    })
  })

  it('has found all that it can find', () => {
    const ids = Object.keys(SERVER_FINDINGS) as ServerFindingId[]
    // The first needs a volume that is mounted read-only, and the second a mirror that was stopped.
    const elsewhere = ['store-read-only', 'mirror-silent']
    expect(ids.filter((id) => !found.has(id))).toEqual(elsewhere)
  })

  it('ends with 2 for settings that are wrong, and for options of the checks of a client', async () => {
    const wrong = await run(['doctor', '--server'], { HUBMIRROR_CACHE_MAX_SIZE: 'large' })
    expect([wrong.status, wrong.stderr]).toEqual([2, expect.stringContaining('HUBMIRROR_CACHE_MAX_SIZE')])
    const mixed = await run(['doctor', '--server', '--token', 'hf_secret'])
    expect([mixed.status, mixed.stderr]).toEqual([2, expect.not.stringContaining('hf_secret')])
  })
})
