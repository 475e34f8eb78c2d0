// The configurations of docs/deploy.md for proxies before the mirror, run by the real programs: no caller chooses its
// address, and what a mirror needs of a proxy holds.

import { request } from 'node:http'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { Config } from '../../src/config/keys.ts'
import { describeClient } from '../clients/support/tools.ts'
import { ask } from '../support/ask.ts'
import { COMPANY_TOKEN, credentials, OPEN, openCompany, SECRET } from '../support/company-world.ts'
import { eventually } from '../support/eventually.ts'
import type { FrontProcess } from '../support/front-process.ts'
import { SECRET_CONFIG, TOKENS } from '../support/mirror-world.ts'
import { documented, FRONTS, type FrontName, PROGRAMS, startFront } from './fronts.ts'

/** Where the caller connects from, and where the office is that the rules know. */
const CALLER = '127.0.0.5'
const OFFICE = '127.0.0.9'
const FORGED = '10.1.2.3'

const LEND = `- {name: office, action: use-token, token: team, match: {repo: acme/*, caller: {network: [${OFFICE}, 10.0.0.0/8]}}}`
const BEHIND = { trustProxy: ['127.0.0.1'] }

/** What a caller may say of itself, in every way that some program believes. */
const LIES: readonly (readonly [string, Record<string, string | string[]>])[] = [
  ['X-Forwarded-For', { 'x-forwarded-for': FORGED }],
  ['X-Forwarded-For with several', { 'x-forwarded-for': `${FORGED}, ${FORGED}` }],
  ['X-Forwarded-For twice', { 'x-forwarded-for': [FORGED, FORGED] }],
  ['X-Forwarded-For that ends with a comma', { 'x-forwarded-for': `${FORGED},` }],
  ['X-Forwarded-For through the proxy', { 'x-forwarded-for': `${FORGED}, 127.0.0.1` }],
  ['X-Real-IP', { 'x-real-ip': FORGED }],
  ['Forwarded', { forwarded: `for=${FORGED}` }],
  [
    'all of them',
    {
      'x-forwarded-for': FORGED,
      'x-real-ip': FORGED,
      forwarded: `for=${FORGED}`,
      'x-client-ip': FORGED,
      'x-envoy-external-address': FORGED,
      'x-original-forwarded-for': FORGED,
    },
  ],
]

async function openFront(
  name: FrontName,
  config: Partial<Config> = {},
  options: { readonly config?: string } = {},
) {
  const { scene } = await openCompany({ rules: LEND, config: { ...BEHIND, ...config } })
  const front = await startFront(name, scene.mirror.url, options)
  onTestFinished(() => front.stop())
  return { scene, front }
}

/** Asks the front from an address of this machine. */
function askFrom(
  localAddress: string,
  { url }: FrontProcess,
  target: string,
  headers: Record<string, string | string[]> = {},
): Promise<{ readonly status: number; readonly body: string }> {
  const { port } = new URL(url)
  return new Promise((resolve, reject) => {
    const outgoing = request(
      { host: '127.0.0.1', port, path: target, localAddress, headers, agent: false },
      (message) => {
        let body = ''
        message.setEncoding('utf8').on('data', (text: string) => {
          body += text
        })
        message.on('end', () => resolve({ status: message.statusCode ?? 0, body }))
        message.on('error', reject)
      },
    )
    outgoing.on('error', reject)
    outgoing.end()
  })
}

const warnings = (scene: { mirror: { logLines(part: string): string[] } }) =>
  scene.mirror.logLines('"setting":"HUBMIRROR_TRUST_PROXY"')

describe.each(FRONTS)('%s as documented', (name) => {
  describeClient(
    `before a mirror that trusts it`,
    [PROGRAMS[name]],
    () => {
      it.each(LIES)('lets no caller choose an address by %s', async (_what, lie) => {
        const { scene, front } = await openFront(name)
        const refused = await askFrom(CALLER, front, SECRET, lie)
        expect(refused.status).toBe(401)
        expect(credentials(scene).has(`Bearer ${COMPANY_TOKEN}`)).toBe(false)
        const audit = await eventually(
          () => scene.mirror.auditText(),
          (text) => text.includes('acme/secret'),
        )
        expect(JSON.parse(audit.split('\n')[0] ?? '')).toMatchObject({ caller: { address: CALLER } })
        // The same words from the network for which a rule lends a token: it gets what it asks for, by its own address.
        expect(await askFrom(OFFICE, front, SECRET, lie)).toEqual({ status: 200, body: SECRET_CONFIG })
        expect(warnings(scene)).toEqual([])
      })

      it('lets no caller choose a network that is served', async () => {
        const { scene, front } = await openFront(name, { clientsAllow: [OFFICE, '10.0.0.0/8', '127.0.0.1'] })
        for (const [what, lie] of LIES) {
          const got = await askFrom(CALLER, front, OPEN, lie)
          expect([what, got.status]).toEqual([what, 403])
        }
        expect((await askFrom(OFFICE, front, OPEN)).status).toBe(200)
        expect(scene.hub.ledger.requests({ url: /secret/ })).toEqual([])
      })

      it('passes paths, lengths and bodies through as they came', async () => {
        const { scene, front } = await openFront(name)
        const asked = '/acme/open/resolve/refs%2Fpr%2F1/README.md'
        const got = await ask(front.url, asked, { headers: { 'accept-encoding': 'gzip' } })
        expect([got.status, got.body.toString()]).toEqual([200, '# proposed\n'])
        expect(got.headers['content-encoding']).toBeUndefined()
        const large = '/acme/open/resolve/main/w.bin'
        const head = await ask(front.url, large, { method: 'HEAD' })
        const bytes = scene.bytes('acme/open', 'w.bin')
        expect([head.status, head.headers['content-length']]).toEqual([200, String(bytes.length)])
        expect((await ask(front.url, large)).body.equals(bytes)).toBe(true)
        const part = await ask(front.url, large, { headers: { range: 'bytes=7-99' } })
        expect([part.status, part.body.equals(bytes.subarray(7, 100))]).toEqual([206, true])
        const body = JSON.stringify({ paths: ['README.md', 'x'.repeat(300_000)] })
        const paths = await ask(front.url, '/api/models/acme/open/paths-info/main', {
          method: 'POST',
          body,
          token: TOKENS.alice,
          headers: { 'content-type': 'application/json' },
        })
        expect([paths.status, JSON.parse(paths.body.toString())]).toMatchObject([
          200,
          [{ path: 'README.md' }],
        ])
      })

      it('names itself in the links of answers, whatever its caller says', async () => {
        const { front } = await openFront(name)
        const headers = { 'x-forwarded-host': 'evil.example', 'x-forwarded-proto': 'javascript' }
        const got = await ask(front.url, '/acme/old/raw/main/config.json', { headers })
        expect([got.status, new URL(got.headers['location'] ?? '', front.url).origin]).toEqual([
          307,
          front.url,
        ])
      })
    },
    { setup: 'test/deploy/setup.sh' },
  )
})

describeClient(
  'a proxy that does not name its callers',
  [PROGRAMS.nginx],
  () => {
    const without = (what: RegExp, by = '') => {
      const text = documented('nginx')
      const changed = text.replace(what, by)
      if (changed === text) throw new Error(`${String(what)} is not in the documented configuration`)
      return changed
    }

    it('is reported once, with the cure', async () => {
      const config = without(/^ *proxy_set_header X-Forwarded-For.*\n/m)
      const { scene, front } = await openFront('nginx', {}, { config })
      for (let round = 0; round < 3; round += 1) await askFrom(CALLER, front, OPEN)
      expect(warnings(scene)).toHaveLength(1)
      expect(JSON.parse(warnings(scene)[0] ?? '')).toMatchObject({
        level: 'warn',
        proxy: '127.0.0.1',
        msg: expect.stringContaining('sent no X-Forwarded-For') as string,
        cure: expect.stringContaining('docs/deploy.md') as string,
      })
    })

    it('is reported if it sets X-Real-IP and forwards the other field', async () => {
      const config = without(/X-Forwarded-For \$remote_addr;/, 'X-Real-IP $remote_addr;').replace(
        'proxy_set_header X-Real-IP "";',
        '',
      )
      const { scene, front } = await openFront('nginx', {}, { config })
      await askFrom(CALLER, front, OPEN, { 'x-forwarded-for': FORGED })
      expect(warnings(scene)).toHaveLength(1)
      expect(warnings(scene)[0]).toContain('X-Real-IP that is not in X-Forwarded-For')
    })

    it('is reported if the field it forwards is no address, and such a caller is unknown', async () => {
      const config = without(/^ *proxy_set_header X-Forwarded-For.*\n/m)
      const { scene, front } = await openFront('nginx', {}, { config })
      for (const lie of [`${FORGED}:80`, 'unknown', `[${FORGED}]`, `${FORGED},`])
        expect((await askFrom(CALLER, front, SECRET, { 'x-forwarded-for': lie })).status).toBe(401)
      expect(credentials(scene).has(`Bearer ${COMPANY_TOKEN}`)).toBe(false)
      expect(warnings(scene)).toHaveLength(1)
      expect(warnings(scene)[0]).toContain('not a plain address')
    })
  },
  { setup: 'test/deploy/setup.sh' },
)

it('is documented for the four that are run here and one that is not', () => {
  for (const name of [...FRONTS, 'Kubernetes']) expect(documented(name)).toMatch(/8080/)
})
