// Stored files that a real nginx sends in place of the mirror, with deploy/nginx/sendfile.conf: a client gets the same
// fields and bytes as from the mirror, whatever becomes of the file and of the mirror meanwhile.

import { chmod, readdir, rm, writeFile } from 'node:fs/promises'
import { request } from 'node:http'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { Config } from '../../src/config/keys.ts'
import { ACCEL_FIELDS } from '../../src/server/body/accel-redirect.ts'
import { describeClient } from '../clients/support/tools.ts'
import { lfs } from '../hub-simulator/repos.ts'
import { ask, open, type Question, type Reply } from '../support/ask.ts'
import { eventually } from '../support/eventually.ts'
import { LARGE_BYTES, mirrorWorld, TOKENS } from '../support/mirror-world.ts'
import { startChild } from '../support/process.ts'
import { ROOT, run } from '../support/run-cli.ts'
import { openScene, type Scene } from '../support/scene.ts'
import { startSendfileFront } from '../support/sendfile-front.ts'

const FILE = '/acme/open/resolve/main/w.bin'
const SECRET = '/acme/secret/resolve/main/w.bin'
const SENDFILE = { sendfile: 'x-accel-redirect', trustProxy: ['127.0.0.1'] } as const
/** More than the buffers of all sockets between nginx and a client that does not read. */
const HUGE_BYTES = 64 * 1024 * 1024
const HUGE = '/acme/huge/resolve/main/w.bin'

async function front(mirror: { readonly url: string; readonly cacheDir: string }) {
  const started = await startSendfileFront(mirror.url, mirror.cacheDir)
  onTestFinished(() => started.stop())
  return started
}

/** A mirror that hands files over, behind nginx. */
async function openFront(config: Partial<Config> = {}) {
  const world = mirrorWorld()
  world.model('acme/huge').commit({ 'w.bin': lfs({ sizeBytes: HUGE_BYTES, seed: 9 }) })
  const scene = await openScene({ world, config: { ...SENDFILE, ...config } })
  const nginx = await front(scene.mirror)
  return { scene, nginx, ask: (target: string, question?: Question) => ask(nginx.url, target, question) }
}

/** Brings a file into the store. The request that fetches it is not handed over. */
async function warm(
  { url }: { readonly url: string },
  target: string,
  { token }: Pick<Question, 'token'> = {},
): Promise<void> {
  expect((await ask(url, target, { token })).whole).toBe(true)
  await eventually(
    () => ask(url, target, { token, headers: { range: 'bytes=0-9' } }),
    ({ headers }) => headers['x-cache'] === 'HIT' || headers['x-cache'] === 'REVALIDATED',
  )
}

/** The sizes that the log says were handed over. */
const handedOver = ({ mirror }: Scene): number[] =>
  mirror.logLines('"handedOver":').map((line) => (JSON.parse(line) as { handedOver: number }).handedOver)

const handedOverSoon = (scene: Scene, count: number): Promise<number[]> =>
  eventually(
    () => handedOver(scene),
    (sizes) => sizes.length >= count,
  )

const links = (cacheDir: string): Promise<string[]> => readdir(join(cacheDir, 'handoff')).catch(() => [])

/** What a client sees of an answer, but for the moment it was sent. */
function seen({ status, headers, names, body }: Reply) {
  const { date: _date, ...fields } = headers
  return { status, fields, names: [...names].sort(), bytes: body.length }
}

const WHOLE = String(LARGE_BYTES)
/** Requests, and how many bytes of the answer the mirror hands over. */
const REQUESTS: readonly (readonly [string, Question, number])[] = [
  ['the whole file', {}, LARGE_BYTES],
  ['a range', { headers: { range: 'bytes=5-500000' } }, 499_996],
  ['the rest of the file', { headers: { range: 'bytes=1000000-' } }, 2_000_000],
  ['the end of the file', { headers: { range: 'bytes=-400000' } }, 400_000],
  ['a range beyond the end', { headers: { range: `bytes=2000000-${WHOLE}999` } }, 1_000_000],
  ['a small range', { headers: { range: 'bytes=5-9' } }, 0],
  ['a range that is not there', { headers: { range: `bytes=${WHOLE}-` } }, 0],
  ['two ranges', { headers: { range: 'bytes=0-400000,500000-900000' } }, 0],
  ['a range in another unit', { headers: { range: 'lines=0-400000' } }, 0],
  ['a range with blanks', { headers: { range: 'bytes= 0-400000' } }, 0],
  ['a range of the same file', { headers: { range: 'bytes=0-299999', 'if-range': 'ETAG' } }, 300_000],
  ['a range of another file', { headers: { range: 'bytes=0-299999', 'if-range': '"other"' } }, 0],
  ['a range of a weak etag', { headers: { range: 'bytes=0-299999', 'if-range': 'W/ETAG' } }, 0],
  ['a range since a date', { headers: { range: 'bytes=0-299999', 'if-range': 'DATE' } }, 0],
  ['the file unless it is the same', { headers: { 'if-none-match': 'ETAG' } }, 0],
  ['the file unless it is any', { headers: { 'if-none-match': '*' } }, 0],
  ['the file unless it is another', { headers: { 'if-none-match': '"other"' } }, 0],
  ['the file if it is another', { headers: { 'if-match': '"other"' } }, 0],
  ['the file if it is newer', { headers: { 'if-modified-since': 'DATE' } }, 0],
  ['the file if it is older', { headers: { 'if-unmodified-since': 'DATE' } }, 0],
  ['the head', { method: 'HEAD' }, 0],
  ['the head of a range', { method: 'HEAD', headers: { range: 'bytes=0-400000' } }, 0],
  ['the head if it is the same', { method: 'HEAD', headers: { 'if-none-match': 'ETAG' } }, 0],
]

function filledIn(question: Question, etag: string): Question {
  const headers = Object.entries({ ...question.headers, 'x-request-id': 'the-same' }).map(([name, value]) => [
    name,
    value.replace('ETAG', etag).replace('DATE', 'Wed, 01 Jan 2020 00:00:00 GMT'),
  ])
  return { ...question, headers: Object.fromEntries(headers) as Record<string, string> }
}

describeClient(
  'nginx sends stored files',
  ['nginx'],
  () => {
    it('with the same fields and bytes as the mirror, whatever a client asks for', async () => {
      const { scene, nginx } = await openFront()
      const own = await scene.another({ config: { sendfile: 'off' } })
      const plain = await front(own)
      await warm(scene.mirror, FILE)
      await warm(own, FILE)
      // Both promise this client the commit: an answer under a promise carries no Age.
      await ask(scene.mirror.url, FILE, { method: 'HEAD' })
      const { headers } = await ask(own.url, FILE, { method: 'HEAD' })
      const expectedSizes: number[] = []
      for (const [what, question, size] of REQUESTS) {
        const asked = filledIn(question, headers['etag'] ?? '')
        for (const target of [FILE, `${FILE}?download=true`]) {
          const expected = await ask(plain.url, target, asked)
          const got = await ask(nginx.url, target, asked)
          expect({ what, ...seen(got) }).toEqual({ what, ...seen(expected) })
          expect([what, got.body.equals(expected.body)]).toEqual([what, true])
          if (size > 0) expectedSizes.push(size)
        }
      }
      await handedOverSoon(scene, expectedSizes.length)
      expect(handedOver(scene)).toEqual(expectedSizes)
    })

    it('while the mirror logs and counts what it hands over, and not as its own bytes', async () => {
      const { scene, ask: get } = await openFront()
      await warm(scene.mirror, FILE)
      const { headers } = await get(FILE, { headers: { range: 'bytes=0-999999' } })
      await handedOverSoon(scene, 1)
      const id = headers['x-request-id'] ?? ''
      expect(JSON.parse(scene.mirror.logLines(id)[0] ?? '')).toMatchObject({
        route: 'file',
        outcome: 'hit',
        status: 206,
        bytes: 0,
        handedOver: 1_000_000,
        client: '127.0.0.1',
      })
      expect(await scene.mirror.auditText()).toContain(id)
      expect(await scene.mirror.metrics()).toContain(
        'hubmirror_handed_over_bytes_total{route="file"} 1000000\n',
      )
    })

    it('except for the first request, which fetches the file', async () => {
      const { scene, ask: get } = await openFront()
      const got = await get(FILE)
      expect([got.headers['x-cache'], got.body.length]).toEqual(['MISS', LARGE_BYTES])
      expect(handedOver(scene)).toEqual([])
    })

    it('of a private repo to a caller with the right to it, and to no other', async () => {
      const { scene, ask: get } = await openFront({ cachePrivate: true })
      await warm(scene.mirror, SECRET, { token: TOKENS.alice })
      const got = await get(SECRET, { token: TOKENS.alice })
      expect(got.body.equals(scene.bytes('acme/secret', 'w.bin'))).toBe(true)
      expect(await handedOverSoon(scene, 1)).toEqual([300_000])
      for (const token of [TOKENS.bob, TOKENS.invalid, undefined])
        expect((await get(SECRET, { token })).status).toBeGreaterThan(400)
      expect(handedOver(scene)).toEqual([300_000])
    })

    it('of a mirror that is offline', async () => {
      const { scene } = await openFront()
      await warm(scene.mirror, FILE)
      await scene.restart({ ...SENDFILE, offline: true })
      const nginx = await front(scene.mirror)
      const got = await ask(nginx.url, FILE)
      expect([got.status, got.body.equals(scene.bytes('acme/open', 'w.bin'))]).toEqual([200, true])
      expect(await handedOverSoon(scene, 1)).toEqual([LARGE_BYTES])
    })

    it('below a base path', async () => {
      const { scene, ask: get } = await openFront({ basePath: '/hugging-face' })
      await warm(scene.mirror, `/hugging-face${FILE}`)
      expect((await get(`/hugging-face${FILE}`)).body.equals(scene.bytes('acme/open', 'w.bin'))).toBe(true)
      expect(await handedOverSoon(scene, 1)).toEqual([LARGE_BYTES])
    })

    it('to their end, though they are removed from the store meanwhile', async () => {
      const { scene, nginx } = await openFront()
      await warm(scene.mirror, HUGE)
      const message = await open(nginx.url, HUGE)
      await handedOverSoon(scene, 1)
      const pruned = await run(['prune', '--cache-dir', scene.mirror.cacheDir, '--max-size', '1MB'])
      expect(pruned.status, pruned.stderr).toBe(0)
      await rm(join(scene.mirror.cacheDir, 'handoff'), { recursive: true })
      const parts: Buffer[] = []
      for await (const part of message) parts.push(part as Buffer)
      expect(Buffer.concat(parts).equals(scene.bytes('acme/huge', 'w.bin'))).toBe(true)
    })

    it('to their end when the mirror is killed, and the next mirror removes the links', async () => {
      const { scene } = await openFront()
      const { cacheDir } = scene.mirror
      await warm(scene.mirror, HUGE)
      await scene.mirror.close({ keepDir: true })
      const env = { HUBMIRROR_SENDFILE: 'x-accel-redirect', HUBMIRROR_TRUST_PROXY: '127.0.0.1' }
      const child = await startChild({ hub: scene.hub, cacheDir, env })
      onTestFinished(() => child.stop())
      const nginx = await front({ url: child.url, cacheDir })
      const message = await open(nginx.url, HUGE)
      expect(await links(cacheDir)).toHaveLength(1)
      child.kill('SIGKILL')
      await child.ended
      expect(await links(cacheDir)).toHaveLength(1)
      await scene.restart(SENDFILE)
      expect(await links(cacheDir)).toEqual([])
      const parts: Buffer[] = []
      for await (const part of message) parts.push(part as Buffer)
      expect(Buffer.concat(parts).equals(scene.bytes('acme/huge', 'w.bin'))).toBe(true)
    })

    it('or answers 503 if it cannot read one, and never "no such file"', async () => {
      const { scene, ask: get } = await openFront()
      await warm(scene.mirror, FILE)
      expect((await get(FILE)).status).toBe(200)
      for (const name of await links(scene.mirror.cacheDir))
        await rm(join(scene.mirror.cacheDir, 'handoff', name))
      const got = await get(FILE)
      expect([got.status, got.headers['retry-after'], got.body.toString()]).toEqual([
        503,
        '5',
        'nginx cannot read the store of the mirror\n',
      ])
      expect(got.headers['etag']).toBeUndefined()
    })
  },
  { setup: 'test/deploy/setup.sh' },
)

describeClient(
  'a client cannot make nginx send a file',
  ['nginx'],
  () => {
    it('with fields or paths of its own', async () => {
      const { scene, nginx, ask: get } = await openFront()
      const { cacheDir } = scene.mirror
      await warm(scene.mirror, FILE)
      await get(FILE)
      const [name = ''] = await links(cacheDir)
      expect(name).toMatch(/^[\da-f]{32}$/)
      await writeFile(join(cacheDir, 'canary'), 'canary')
      const paths = [
        `/-/handoff/${name}`,
        '/-/handoff/',
        '/-/handoff/../canary',
        '/-/handoff/%2e%2e/canary',
        '/-/handoff/..%2fcanary',
        '/-/handoff../canary',
        '//-/handoff/../canary',
      ]
      const fields = [
        'x-accel-redirect',
        'x-sendfile',
        'x-accel-internal',
        'x-reproxy-url',
        'x-sendfile-type',
      ]
      for (const path of paths) {
        const got = await get(path)
        expect([path, got.status >= 400, got.body.includes('canary"')]).toEqual([path, true, false])
        expect(got.body.toString()).not.toBe('canary')
        for (const field of fields) {
          const small = await get('/acme/open/resolve/main/config.json', { headers: { [field]: path } })
          expect([small.status, small.body.toString()]).toEqual([200, '{"model_type":"open","v":2}\n'])
        }
      }
      expect(nginx.log()).not.toContain('canary" failed')
      await rm(join(cacheDir, 'canary'))
    })

    it('by an X-Accel field in any answer of the Hub', async () => {
      const { scene, ask: get } = await openFront()
      const { cacheDir } = scene.mirror
      await warm(scene.mirror, FILE)
      await get(FILE)
      const [name = ''] = await links(cacheDir)
      const addHeaders = {
        'X-Accel-Redirect': `/-/handoff/${name}`,
        'X-Accel-Buffering': 'yes',
        'X-Accel-Limit-Rate': '1',
        'X-Accel-Expires': '3600',
        'X-Accel-Charset': 'koi8-r',
        'X-Sendfile': `${cacheDir}/handoff/${name}`,
      }
      for (const where of ['hub', 'cdn'] as const)
        scene.hub.faults.add({ where, addHeaders, times: Number.POSITIVE_INFINITY })
      const commit = scene.commit('acme/open')
      const targets: readonly (readonly [string, Question])[] = [
        ['/acme/data/resolve/main/data/train.csv', {}],
        ['/datasets/acme/data/resolve/main/data/train.csv', {}],
        ['/datasets/acme/data/resolve/main/data/train.parquet', {}],
        [SECRET, { token: TOKENS.alice }],
        [SECRET, {}],
        ['/acme/open/resolve/main/absent.bin', {}],
        ['/api/models/acme/open', {}],
        [`/api/models/acme/open/tree/${commit}`, {}],
        ['/api/whoami-v2', { token: TOKENS.alice }],
        ['/acme/open/raw/main/config.json', {}],
        ['/api/models/acme/open/commits/main', {}],
        ['/acme/open.git/info/refs?service=git-upload-pack', {}],
        ['/v2/acme/open/manifests/latest', {}],
        [
          '/acme/open.git/info/lfs/objects/batch',
          {
            method: 'POST',
            headers: {
              'content-type': 'application/vnd.git-lfs+json',
              accept: 'application/vnd.git-lfs+json',
            },
            body: JSON.stringify({ operation: 'download', transfers: ['basic'], objects: [] }),
          },
        ],
      ]
      for (const [target, question] of targets) {
        for (const method of question.method === undefined ? ['GET', 'HEAD'] : [question.method]) {
          const direct = await ask(scene.mirror.url, target, { ...question, method })
          expect([target, direct.names.filter((field) => /^x-(?:accel|sendfile)/.test(field))]).toEqual([
            target,
            [],
          ])
          const got = await get(target, { ...question, method })
          expect([target, got.status, got.body.equals(direct.body)]).toEqual([target, direct.status, true])
        }
      }
    })
  },
  { setup: 'test/deploy/setup.sh' },
)

/** Asks the mirror itself from an address of this machine. */
function askFrom(localAddress: string, url: string, headers: Record<string, string>) {
  return new Promise<{
    readonly fields: readonly string[]
    readonly bytes: number
    readonly isWhole: boolean
  }>((resolve, reject) => {
    const { hostname: host, port } = new URL(url)
    const outgoing = request({ host, port, path: FILE, localAddress, headers, agent: false }, (message) => {
      let bytes = 0
      message.on('data', (part: Buffer) => {
        bytes += part.length
      })
      message.on('error', () => undefined)
      message.on('close', () =>
        resolve({ fields: Object.keys(message.headers), bytes, isWhole: message.complete }),
      )
    })
    outgoing.on('error', reject)
    outgoing.end()
  })
}

describe('a mirror that hands files over', () => {
  it('sends files itself to clients that do not connect from a trusted address', async () => {
    const scene = await openScene({ config: { ...SENDFILE, trustProxy: ['127.0.0.9'] } })
    await warm(scene.mirror, FILE)
    for (const headers of [{}, { 'x-forwarded-for': '127.0.0.9' }, { forwarded: 'for=127.0.0.9' }]) {
      const got = await askFrom('127.0.0.5', scene.mirror.url, headers as Record<string, string>)
      expect([got.bytes, got.isWhole]).toEqual([LARGE_BYTES, true])
      expect(got.fields).not.toContain('x-accel-redirect')
    }
    expect(handedOver(scene)).toEqual([])
  })

  it('breaks the answer off for a trusted proxy that does not know the field', async () => {
    const scene = await openScene({ config: { ...SENDFILE, trustProxy: ['127.0.0.9'] } })
    await warm(scene.mirror, FILE)
    const got = await askFrom('127.0.0.9', scene.mirror.url, {})
    expect(got).toMatchObject({ bytes: 0, isWhole: false })
    expect(got.fields).toContain('x-accel-redirect')
  })

  it('sends files itself where the folder for links cannot be written', async () => {
    const scene = await openScene({ config: SENDFILE })
    await warm(scene.mirror, FILE)
    const folder = join(scene.mirror.cacheDir, 'handoff')
    await writeFile(folder, 'in the way')
    await chmod(folder, 0o400)
    for (let round = 0; round < 2; round += 1)
      expect((await scene.ask(FILE)).body.equals(scene.bytes('acme/open', 'w.bin'))).toBe(true)
    expect(handedOver(scene)).toEqual([])
    expect(scene.mirror.logLines('"limit":"no-hard-links"')).toHaveLength(1)
    await rm(folder)
  })

  it('needs a proxy that it trusts, unchecked reads and one process', async () => {
    const env = { HUBMIRROR_SENDFILE: 'x-accel-redirect', HUBMIRROR_TRUST_PROXY: '127.0.0.1' }
    const cases: readonly (readonly [Record<string, string>, string])[] = [
      [{ HUBMIRROR_TRUST_PROXY: '' }, 'HUBMIRROR_TRUST_PROXY'],
      [{ HUBMIRROR_CHECK_READS: '1h' }, 'HUBMIRROR_CHECK_READS'],
      [{ HUBMIRROR_WORKERS: '2' }, 'HUBMIRROR_WORKERS'],
    ]
    for (const [more, word] of cases) {
      for (const command of ['config', 'serve']) {
        const { status, stderr } = await run([command], { ...env, ...more })
        expect([command, status]).toEqual([command, 2])
        expect(stderr).toContain('HUBMIRROR_SENDFILE')
        expect(stderr).toContain(word)
      }
    }
    expect((await run(['config'], env)).status).toBe(0)
    expect(ROOT).not.toBe('')
  })
})

it('nginx takes over all fields of a file that it does not make itself', async () => {
  const { readFile } = await import('node:fs/promises')
  const text = await readFile(new URL('../../deploy/nginx/sendfile.conf', import.meta.url), 'utf8')
  const added = [...text.matchAll(/add_header ([\w-]+) \$upstream_http_(\w+);/g)].map(
    ([, name = '', variable]) => {
      expect(variable).toBe(name.toLowerCase().replaceAll('-', '_'))
      return name.toLowerCase()
    },
  )
  // The ones that nginx passes on from an answer with X-Accel-Redirect, and those that it makes for a file.
  const own = [
    'accept-ranges',
    'cache-control',
    'content-disposition',
    'content-length',
    'content-range',
    'content-type',
  ]
  expect([...added, ...own].sort()).toEqual([...ACCEL_FIELDS].sort())
})
