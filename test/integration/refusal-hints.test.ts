// What a caller reads beside the Hub's own refusal: cause and cure, in the message where that may change, and never a
// word of what was sent.

import { describe, expect, it } from 'vitest'
import { openCompany } from '../support/company-world.ts'
import { TOKENS } from '../support/mirror-world.ts'
import { openScene } from '../support/scene.ts'

const GATED = '/acme/gated/resolve/main/config.json'
const SECRET = '/acme/secret/resolve/main/config.json'
const SECRET_INFO = '/api/models/acme/secret'
const WALLS = '/api/models/acme/secret/auth-check'
const BAD = 'Invalid credentials in Authorization header'
const PAGE = 'https://huggingface.co/acme/gated'

describe('a refusal', () => {
  it.each([
    ['no token, closed file', SECRET, undefined, 'No token arrived at the mirror: if the repo is private'],
    [
      'no token, closed repo',
      SECRET_INFO,
      undefined,
      'No token arrived at the mirror: if the repo is private',
    ],
    ['no token, passed through', WALLS, undefined, 'No token arrived at the mirror: if the repo is private'],
    ['no token, gate', GATED, undefined, `No token arrived at the mirror: set HF_TOKEN`],
    ['no token, gate, the page', GATED, undefined, `Access is given at ${PAGE}.`],
    ['gate not accepted', GATED, `Bearer ${TOKENS.bob}`, `visit ${PAGE} and accept`],
    ['no right', SECRET, `Bearer ${TOKENS.bob}`, 'this token may not read it'],
    ['unknown token at a gate', GATED, 'Bearer hf_abcdefghijklmnop', 'the Hub rejects it'],
    ['twice the word', GATED, 'Bearer Bearer hf_abcdefghijklmnop', 'says Bearer twice'],
    ['quotes', GATED, 'Bearer "hf_abcdefghijklmnop"', 'arrived in quotes'],
    ['a blank inside', GATED, 'Bearer hf_abcdefgh ijklmnop', 'contains a space'],
    ['no scheme', GATED, 'hf_abcdefghijklmnop', 'without a scheme'],
    ['Basic', GATED, 'Basic aGZfYWJjZGVmZ2hpamtsbW5vcDp4', 'arrived as Basic'],
    ['no token after the word', GATED, 'Bearer', 'without a token'],
    ['a variable that was not set', GATED, 'Bearer None', 'was not set'],
    ['another scheme', GATED, 'Token hf_abcdefghijklmnop', "not of the form 'Bearer'"],
  ])('says what to do: %s', async (_what, target, authorization, part) => {
    const scene = await openScene()
    const headers: Record<string, string> = authorization === undefined ? {} : { authorization }
    for (const method of ['HEAD', 'GET']) {
      const got = await scene.ask(target, { method, headers })
      const message = got.headers['x-error-message'] ?? ''
      expect(message).toContain(part)
      expect(message).toMatch(/^[\x20-\x7e]{1,600}$/)
      expect(message + got.body.toString()).not.toMatch(/abcdefgh|aGZf/)
    }
  })

  it.each([SECRET, SECRET_INFO, WALLS])(
    'keeps the words that Python compares, of %s, and adds the rest behind them',
    async (target) => {
      const scene = await openScene()
      for (const method of ['HEAD', 'GET']) {
        const got = await scene.ask(target, { method, token: 'hf_abcdefghijklmnop' })
        expect([got.status, got.headers['x-error-message']]).toEqual([401, BAD])
        expect(got.headers['x-hf-warning']).toMatch(/^hubmirror; A token arrived .* the Hub rejects it/)
        if (method === 'GET' && target !== WALLS) expect(got.body.toString()).toContain('the Hub rejects it')
      }
    },
  )

  it('says whether a Hub token was lent to a mirror token', async () => {
    const lending = await openCompany()
    const without = await openCompany({
      rules: '- {action: use-token, token: team, match: {repo: other/*, caller: {mirrorToken: ci}}}',
    })
    const token = await without.issue()
    for (const method of ['HEAD', 'GET']) {
      const none = await without.scene.ask(SECRET, { method, token })
      expect([none.status, none.headers['x-error-message']]).toEqual([
        401,
        expect.stringContaining('no policy lends it a Hub token for this'),
      ])
    }
    lending.scene.hub.faults.add({
      where: 'hub',
      match: ({ headers }) => headers.authorization !== undefined,
      status: { code: 401 },
      times: Number.POSITIVE_INFINITY,
    })
    const lent = await lending.scene.ask(SECRET, { token: await lending.issue() })
    expect([lent.status, lent.headers['x-error-message']]).toEqual([
      401,
      expect.stringContaining('uses for you at the Hub does not give access to this'),
    ])
  })

  it('says whose quota is used up', async () => {
    const scene = await openScene()
    scene.hub.faults.add({
      where: 'hub',
      rateLimit429: { retryAfter: 60 },
      times: Number.POSITIVE_INFINITY,
    })
    for (const [token, part] of [
      [undefined, "'resolvers' at the Hub that all callers of this mirror without a token share"],
      [TOKENS.alice, "The quota 'resolvers' of your token"],
    ] as const) {
      for (const method of ['HEAD', 'GET']) {
        const got = await scene.ask(SECRET, { method, token })
        expect([got.status, got.headers['x-error-message']]).toEqual([429, expect.stringContaining(part)])
      }
    }
  })

  it('for an absent file or revision has no addition', async () => {
    const scene = await openScene()
    const got = await scene.ask('/acme/open/resolve/main/none.txt')
    expect([got.status, got.headers['x-error-message']]).toEqual([404, 'Entry not found'])
  })
})
