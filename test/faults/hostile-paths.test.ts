import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { lfs, World } from '../hub-simulator/repos.ts'
import { type Hub, startHub } from '../hub-simulator/server.ts'
import { eventually } from '../support/eventually.ts'
import { rawHttp } from '../support/raw-http.ts'
import { filesBelow, type RunningMirror, startMirror } from '../support/start-mirror.ts'

const TOKEN = `hf_${'member'.padEnd(34, '0')}`
const CANARY = 'canary-bytes-that-nobody-may-read'

/** What a publisher may call a file; control characters and backslashes are refused like any other URL. */
const ODD_NAMES = [
  'quote".txt',
  `a'b(c)*.txt`,
  'semi;colon; filename=evil.exe',
  'é\u2028\u202Etxt.exe',
  '%0d%0aX-Injected: 1',
  'percent%.txt',
  '\u{1F4A9}.bin',
  'a\u0085b\u00a0.txt',
  '=?utf-8?q?x?=',
  '<script>.html',
]

let hub: Hub
let mirror: RunningMirror
let parent: string
let canary: string
let readBeforeAt: number

beforeAll(async () => {
  const world = new World().addUser('member', { token: TOKEN })
  const files = { 'config.json': '{}', 'sub/x.json': '{}', 'w.bin': lfs({ sizeBytes: 300_000, seed: 3 }) }
  world.model('acme/open').commit(files)
  world.dataset('acme/open').commit(files)
  world.model('acme/private').private(['member']).commit(files)
  world.model('acme/odd').commit(Object.fromEntries(ODD_NAMES.map((name) => [name, name])))
  hub = await startHub({ world })
  parent = await mkdtemp(join(tmpdir(), 'hubmirror-canary-'))
  canary = join(parent, 'canary.txt')
  await writeFile(canary, CANARY)
  readBeforeAt = (await stat(canary)).atimeMs
  mirror = await startMirror({ hub, cacheDir: join(parent, 'cache') })
})

afterAll(async () => {
  expect((await stat(canary)).atimeMs, 'somebody read the canary').toBe(readBeforeAt)
  expect(await readFile(canary, 'utf8')).toBe(CANARY)
  expect((await readdir(dirname(mirror.cacheDir))).sort()).toEqual(['cache', 'cache.audit', 'canary.txt'])
  await mirror.close()
  await hub.close()
  await rm(parent, { recursive: true, force: true })
})

/** One step up, a way to the canary, or something else no path may hold; as it stands on the wire. */
const POISONS: readonly string[] = [
  ...words(`.. . %2e%2e %2E%2E .%2e %2e. %2e %252e%252e %25252e%25252e ..%00 %00 %00.txt a%00b
    ..%2f.. ..%2f..%2fcanary.txt %2e%2e%2f%2e%2e%2fcanary.txt ..%5c..%5ccanary.txt ..%5c %5c%5chost%5cshare %2e%2e%5c
    ..\\..\\canary.txt \\ a%5cb a\\b %c0%ae%c0%ae %c0%ae%c0%ae%2fcanary.txt %e0%80%ae%e0%80%ae %f0%80%80%ae ..%c0%af
    ..%e0%80%af %ff % %2 %zz %u002e%u002e %uff0e %ef%bc%8e%ef%bc%8e a%0d%0ab a%0db a%0ab a%09b a%7fb a%1bb
    %0d%0aX-Injected:%201 ....%2f%2f ..; ..;/.. %2f %2f%2f a%2f%2fb %2fetc%2fpasswd file:%2f%2f%2fetc%2fpasswd
    C:%5cwindows a%2f..%2fb %2e%2e/%2e%2e/canary.txt ../../canary.txt ..//..//canary.txt .//.. a//b a/./b a/../b
    ~ ~root $HOME ;id |id __proto__ constructor hasOwnProperty NUL CON -a a- .a a. a--b a..b a.git api datasets
    %f0%9f%92%a9 %e2%80%ae %ed%a0%80 %ed%b0%80`),
  '`id`',
  '\u00e9'.repeat(3),
  'x'.repeat(97),
  'x'.repeat(300),
  'x'.repeat(3000),
  '%41'.repeat(2500),
]

/** Where it may stand. */
const PLACES: Readonly<Record<string, (poison: string) => string>> = {
  type: (poison) => `/${poison}/acme/open/resolve/main/config.json`,
  org: (poison) => `/${poison}/open/resolve/main/config.json`,
  repo: (poison) => `/acme/${poison}/resolve/main/config.json`,
  dataset: (poison) => `/datasets/acme/${poison}/resolve/main/config.json`,
  revision: (poison) => `/acme/open/resolve/${poison}/config.json`,
  path: (poison) => `/acme/open/resolve/main/${poison}`,
  folder: (poison) => `/acme/open/resolve/main/${poison}/x.json`,
  pinned: (poison) => `/api/resolve-cache/models/acme/open/${'0'.repeat(40)}/${poison}`,
  api: (poison) => `/api/models/acme/${poison}`,
  'api tree': (poison) => `/api/models/acme/open/tree/${poison}`,
  'api folder': (poison) => `/api/models/acme/open/tree/main/${poison}`,
  page: (poison) => `/acme/open/blob/main/${poison}`,
  query: (poison) => `/acme/open/resolve/main/config.json?download=${poison}`,
  'api query': (poison) => `/api/models?search=${poison}`,
}

const ask = (target: string, headers = '') =>
  rawHttp(mirror.url, `GET ${target} HTTP/1.1\r\nHost: mirror.test\r\nConnection: close\r\n${headers}\r\n`)

/** What the origin must never be asked. The query is its own to read: a percent sign there is data. */
function expectCleanLedger(): void {
  for (const { url } of hub.ledger.requests()) {
    const path = url.replace(/\?.*$/s, '')
    // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
    expect(path).not.toMatch(/[\x00-\x20\x7f-\uffff\\]|%5c|%00|%0[ad]|%7f/i)
    const segments = path.split('/').map((segment) => decodeURIComponent(segment))
    for (const part of segments.join('/').split('/')) expect(['.', '..']).not.toContain(part)
    expect(url).not.toMatch(/[\x7f-\uffff\s]/)
  }
}

describe.each(Object.entries(PLACES))('a hostile %s', (place, at) => {
  it.each(POISONS.map((poison) => [poison.length > 60 ? `${poison.slice(0, 20)}…` : poison, poison]))(
    '%s is refused, or gets the answer of the Hub',
    async (_, poison) => {
      hub.ledger.clear()
      const answer = await ask(at(poison))
      expectCleanLedger()
      const asked = hub.ledger.requests().length
      expect(answer.end).toBe('closed')
      // Without a question to the Hub there can be no yes, unless the answer is stored from the one before.
      if (asked === 0 && answer.status < 400)
        expect([place, answer.headers['x-cache']]).toEqual([place, 'HIT'])
      if (answer.status >= 400 && asked === 0) {
        expect(answer.status).toBeLessThan(500)
        // A page is on the Hub, under the same path, and nowhere else.
        const isPage = answer.headers['x-error-code'] === 'PageNotMirrored'
        const words = isPage ? `The page is on the Hub: ${hub.url}/acme/` : '"(error|message)":"[^"]{10,}'
        expect(answer.body.toString()).toMatch(new RegExp(words))
      }
      expect([200, 206, 301, 302, 303, 307, 308, 400, 401, 403, 404, 405, 414, 431]).toContain(answer.status)
      expect(answer.text).not.toContain(CANARY)
      expect(answer.text).not.toMatch(/^X-Injected/im)
      expect(answer.text).not.toContain('root:x:')
    },
  )
})

describe('the name of a file', () => {
  it.each(ODD_NAMES.map((name) => [name]))('%j stays inside its header field', async (name) => {
    const answer = await ask(`/acme/odd/resolve/main/${encodeURIComponent(name)}?download=true`)
    expect([answer.status, answer.body.toString()]).toEqual([200, name])
    const disposition = answer.headers['content-disposition'] ?? ''
    expect(disposition).toMatch(/^attachment; filename\*=UTF-8''[\w.%!~*-]+; filename="[^"\\]+";$/)
    expect(decodeURIComponent(/''([^;]+);/.exec(disposition)?.[1] ?? '')).toBe(name)
    expect(Object.keys(answer.headers)).not.toContain('x-injected')
  })
})

describe('after all these paths', () => {
  it('no file name of the store came from outside', async () => {
    // A pull that is being settled changes the tree while it is walked, and so does a fact that is written behind an answer.
    for (const folder of ['partial', 'tmp']) {
      await eventually(
        () => readdir(join(mirror.cacheDir, folder)),
        (names) => names.length === 0,
      )
    }
    for (const name of (await filesBelow(mirror.cacheDir)).keys()) {
      expect(name).toMatch(
        /^(CACHEDIR\.TAG|FORMAT|LOCK|blobs\/(sha256|gitsha1|opaque)\/[0-9a-f]{2}\/[0-9a-f]+|facts\/(data\.mdb|lock\.mdb|in-use)|partial\/\w+-[0-9a-f]+\/(data|blocks))$/,
      )
    }
  })

  it('no line of the log is broken or raw', () => {
    for (const line of mirror.logText().split('\n')) {
      if (line === '') continue
      const fields = JSON.parse(line) as Record<string, unknown>
      // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
      expect(line).not.toMatch(/[\x00-\x1f\x7f]/)
      if (typeof fields['path'] === 'string') expect(fields['path']).not.toMatch(/\\|(^|\/)\.\.?(\/|$)/)
      expect(line.length).toBeLessThan(6000)
    }
  })

  it('the log has no error of the mirror itself', () => {
    expect(mirror.logText()).not.toContain('"level":"error"')
  })

  it('the mirror answers as before', async () => {
    const answer = await ask('/acme/open/resolve/main/config.json')
    expect([answer.status, answer.body.toString()]).toEqual([200, '{}'])
  })
})

describe('a private repo', () => {
  it('cannot be read by another spelling', async () => {
    const spellings = [
      '/acme/private/resolve/main/config.json',
      '//acme/private/resolve/main/config.json',
      '/models/acme/private/resolve/main/config.json',
      '/acme%2fprivate/resolve/main/config.json',
      '/ACME/PRIVATE/resolve/main/config.json',
      '/acme/%70rivate/resolve/main/config.json',
      '/acme/private/resolve/main/config.json?token=x',
      '/acme/open/../private/resolve/main/config.json',
      '/acme/open/resolve/main/..%2f..%2f..%2fprivate/resolve/main/config.json',
      '/acme/private/resolve/main/%63onfig.json',
    ]
    for (const target of spellings) {
      const mine = await ask(target, `Authorization: Bearer ${TOKEN}\r\n`)
      const yours = await ask(target)
      expect([400, 401, 404, 307], target).toContain(yours.status)
      expect(yours.body.toString(), target).not.toBe('{}')
      expect([200, 307, 400, 404], target).toContain(mine.status)
    }
  })
})

function words(text: string): string[] {
  return text.split(/\s+/)
}
