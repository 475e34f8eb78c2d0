// What users read of the mirror's own refusals if the client hides the message, and what a HEAD says of one.

import { describe, expect, it } from 'vitest'
import { openCompany } from '../support/company-world.ts'
import { TOKENS } from '../support/mirror-world.ts'
import { policiesOf } from '../support/policies.ts'
import { openScene } from '../support/scene.ts'

const FILE = '/acme/open/resolve/main/config.json'
const DENY = '- {name: none, match: {repo: acme/open}, action: deny, message: "Ask Anna; she knows."}'

describe('a refusal of the mirror has its message in X-HF-Warning as well', () => {
  it.each(['GET', 'HEAD'])('if a policy refuses (%s)', async (method) => {
    const scene = await openScene({ config: { policies: policiesOf(DENY) } })
    const got = await scene.ask(FILE, { method })
    expect([got.status, got.headers['x-error-code']]).toEqual([403, 'GatedRepo'])
    expect(got.headers['x-hf-warning']).toBe(
      'PolicyDenied; Ask Anna; she knows. (policy none of this mirror)',
    )
    expect(got.headers['x-hf-warning']).toContain(got.headers['x-error-message'])
  })

  it('if the network, the mirror token or the ban on writes is the reason', async () => {
    const closed = await openScene({ config: { trustProxy: ['127.0.0.1'], clientsDeny: ['10.9.0.0/16'] } })
    const { scene, issue, change } = await openCompany({ config: { writes: 'deny' } })
    const token = await issue()
    await change((list) => list.map((entry) => ({ ...entry, revokedAt: entry.createdAt })))
    const answers = [
      await closed.ask(FILE, { headers: { 'x-forwarded-for': '10.9.8.7' } }),
      await scene.ask(FILE, { token }),
      await scene.ask('/api/repos/create', { method: 'POST', token: TOKENS.alice, body: '{}' }),
    ]
    expect(answers.map(({ headers }) => headers['x-hf-warning']?.split(';')[0])).toEqual([
      'ClientNotAllowed',
      'MirrorTokenRefused',
      'MirrorIsReadOnly',
    ])
    for (const { headers } of answers)
      expect(headers['x-hf-warning']).toContain(`; ${headers['x-error-message']}`)
  })

  it('if no lent token opens a gate, and the client would advise to request access at the Hub', async () => {
    const { scene, issue } = await openCompany({ rules: '' })
    const got = await scene.ask('/acme/gated/resolve/main/config.json', { token: await issue() })
    expect(got.headers['x-error-code']).toBe('GatedRepo')
    expect(got.headers['x-hf-warning']).toContain('no policy lends it a Hub token for this')
    const own = await scene.ask('/acme/gated/resolve/main/config.json', { token: TOKENS.bob })
    expect([own.headers['x-error-code'], own.headers['x-hf-warning']]).toEqual(['GatedRepo', undefined])
  })

  it('but a failure does not', async () => {
    const scene = await openScene()
    await scene.hub.stop()
    const got = await scene.ask(FILE)
    expect([got.headers['x-error-code'], got.headers['x-hf-warning']]).toEqual([
      'OriginUnreachable',
      undefined,
    ])
  })
})

describe('an error without a body does not call itself JSON', () => {
  const GATED = '/acme/gated/resolve/main/config.json'
  const TREE = '/api/models/acme/secret/tree/main'
  const RAW = '/acme/secret/raw/main/config.json'
  const UNKNOWN = '/api/no/such/route'

  it.each([
    ['a failure of the mirror', FILE, { offline: true }],
    ['a denial', FILE, { policies: policiesOf(DENY) }],
    ['a refusal of a file', GATED, {}],
    ['a refusal of a document', TREE, {}],
    ['a refusal that is passed through', RAW, {}],
    ['an answer that is passed through', UNKNOWN, {}],
    ['an address that is none', '/acme/%zz', {}],
    ['a route of the mirror that is none', '/-/none', {}],
  ])('if it answers %s', async (_what, target, config) => {
    const scene = await openScene({ config })
    // Twice: the second may be remembered, or ready. The GET between them fills what HEADs are answered from.
    for (const method of ['HEAD', 'GET', 'HEAD']) {
      const got = await scene.ask(target, { method })
      expect(got.status).toBeGreaterThanOrEqual(400)
      if (method === 'HEAD') expect(got.headers['content-type'] ?? '').not.toContain('json')
      expect(got.headers['x-request-id']).toBeDefined()
    }
  })

  it('and an answer that is no error keeps its type', async () => {
    const scene = await openScene()
    const got = await scene.ask('/api/models/acme/open', { method: 'HEAD' })
    expect([got.status, got.headers['content-type']]).toEqual([200, 'application/json; charset=utf-8'])
  })
})
