// The Hub tokens of the mirror's own: for which callers and requests they are used, and what is reported of them.

import { readFileSync, statSync } from 'node:fs'
import { rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createMirrorToken } from '../../src/callers/mirror-token.ts'
import { hubTokenFault } from '../../src/config/parse.ts'
import { Secret } from '../../src/config/secret.ts'
import {
  basic,
  COMPANY_TOKEN,
  COMPANY_TOKEN_NEXT,
  credentials,
  openCompany,
  SECRET,
  START_AT,
} from '../support/company-world.ts'
import { eventually } from '../support/eventually.ts'
import { SECRET_CONFIG, TOKENS } from '../support/mirror-world.ts'
import { metricValue } from '../support/start-mirror.ts'

describe("the mirror's own Hub token", () => {
  const toNetwork = (repo: string) =>
    `- {action: use-token, token: team, match: {repo: '${repo}', caller: {network: 127.0.0.1}}}`

  it('never replaces a token of the caller, valid or not', async () => {
    const { scene } = await openCompany({ rules: toNetwork('*') })
    expect((await scene.ask(SECRET, { token: TOKENS.alice })).status).toBe(200)
    expect((await scene.ask(SECRET, { token: TOKENS.bob })).status).toBe(404)
    expect((await scene.ask(SECRET, { token: TOKENS.invalid })).status).toBe(401)
    expect((await scene.ask(SECRET, { headers: { authorization: basic('x', TOKENS.alice) } })).status).toBe(
      200,
    )
    expect(credentials(scene).has(`Bearer ${COMPANY_TOKEN}`)).toBe(false)
  })

  it('may be lent to a caller without a token, to read what the rule names and nothing else', async () => {
    const { scene } = await openCompany({ rules: toNetwork('acme/secret') })
    expect((await scene.ask(SECRET)).body.toString()).toBe(SECRET_CONFIG)
    expect((await scene.ask('/acme/gated/resolve/main/config.json')).headers['x-error-code']).toBe(
      'GatedRepo',
    )
    scene.hub.ledger.clear()
    await scene.ask('/api/whoami-v2')
    await scene.ask('/api/models/acme/secret/commit/main', { method: 'POST', body: '{}' })
    await scene.ask('/api/models/acme/secret/settings', { method: 'PUT', body: '{"private":false}' })
    await scene.ask('/acme/secret.git/info/refs?service=git-receive-pack')
    expect([...credentials(scene)]).toEqual([undefined])
    const batch = '/acme/secret.git/info/lfs/objects/batch'
    const upload = await scene.ask(batch, { method: 'POST', body: '{"operation":"upload","objects":[]}' })
    expect(upload.status).toBe(401)
    expect(credentials(scene).has(basic('hubmirror', COMPANY_TOKEN))).toBe(false)
    const download = await scene.ask(batch, { method: 'POST', body: '{"operation":"download","objects":[]}' })
    expect(download.status).toBe(200)
    expect(scene.world.find('models', 'acme/secret')?.repo.isPrivate).toBe(true)
  })

  it.each([COMPANY_TOKEN, Buffer.from(`hubmirror:${COMPANY_TOKEN}`).toString('base64')])(
    'is not sent to its borrower when the Hub returns it in an answer',
    async (secret) => {
      const { scene, issue } = await openCompany()
      const token = await issue()
      const target = '/acme/secret.git/info/lfs/objects/batch'
      const download = { method: 'POST', body: '{"operation":"download","objects":[]}', token }
      for (const padding of [0, 30, 100_000]) {
        const body = JSON.stringify({
          objects: ' '.repeat(padding),
          header: { Authorization: `Basic ${secret}` },
        })
        scene.hub.faults.add({ where: 'hub', match: /batch/, status: { code: 200, body } })
        const got = await scene.ask(target, download)
        expect([got.whole && got.status === 200, got.body.includes(secret)]).toEqual([false, false])
      }
      const whole = JSON.stringify({ objects: 'x'.repeat(100_000), header: {} })
      scene.hub.faults.add({ where: 'hub', match: /batch/, status: { code: 200, body: whole } })
      expect((await scene.ask(target, download)).body.toString()).toBe(whole)
    },
  )

  it('is not sent to its borrower in an encoded answer either', async () => {
    const { scene, issue } = await openCompany()
    const token = await issue()
    const target = '/acme/secret.git/info/lfs/objects/batch'
    const download = { method: 'POST', body: '{"operation":"download","objects":[]}', token }
    const body = JSON.stringify({ header: { Authorization: `Bearer ${COMPANY_TOKEN}` } })
    scene.hub.faults.add({ where: 'hub', match: /batch/, status: { code: 200, body }, gzipAlways: true })
    const decodable = await scene.ask(target, download)
    const headers = { 'content-encoding': 'zstd' }
    scene.hub.faults.add({ where: 'hub', match: /batch/, status: { code: 200, headers, body: 'x' } })
    const other = await scene.ask(target, download)
    expect([decodable.status, other.status, decodable.headers['content-encoding']]).toEqual([
      502,
      502,
      undefined,
    ])
    scene.hub.faults.add({ where: 'hub', match: /batch/, gzipAlways: true })
    const harmless = await scene.ask(target, download)
    expect([harmless.status, JSON.parse(harmless.body.toString())]).toEqual([
      200,
      expect.objectContaining({ objects: [] }),
    ])
  })

  it.each([
    '/api/models/acme/secret/settings',
    '/api/models/acme/secret/discussions',
    '/api/models/acme/secret/settings?x=/auth-check',
    '/api/models/acme/secret/user-access-request/pending?/auth-check?',
    '/api/spaces/acme/secret/secrets/auth-check',
    '/acme/secret/settings/auth-check',
    '/api/models/acme/secret/user-access-request/pending',
    '/api/models/acme/secret/auth-check/write',
    '/api/spaces/acme/secret/secrets',
    '/api/spaces/acme/secret/variables',
    '/api/models?author=acme',
    '/api/whoami-v2',
    '/acme/secret/settings',
    '/acme/secret.git/info/lfs/locks',
    '/settings/tokens',
    // These routes issue a credential in the name of the requester.
    '/api/spaces/acme/secret/jwt?expiration=2040-01-01T00:00:00Z',
    '/api/models/acme/secret/jwt?write=true',
    '/api/models/acme/secret/xet-read-token/main',
    // Requests about people, machines and money, and words that are not known yet.
    '/api/models/acme/secret/user-access-report',
    '/api/models/acme/secret/collaborators',
    '/api/models/acme/secret/notebook/main/x.ipynb',
    '/api/models/acme/secret/webhooks',
    '/api/models/acme/secret/billing/usage',
    '/api/models/acme/secret/lfs-files',
    '/api/models/acme/secret/scan',
    '/api/models/acme/secret/a-word-of-tomorrow',
    '/api/spaces/acme/secret/runtime',
    '/api/spaces/acme/secret/metrics',
    '/api/spaces/acme/secret/live-metrics/sse',
    '/api/spaces/acme/secret/logs/run',
    // Pages, which are made for the user who is logged in.
    '/acme/secret',
    '/acme/secret/tree/main',
    '/acme/secret/blob/main/config.json',
    '/acme/secret/blame/main/config.json',
    '/acme/secret/user-access-report',
    // Other spellings of requests that would get the token.
    '/api/models/acme/secret/PARQUET',
    '/api/models/acme/secret/parquet%2F..%2Fjwt',
    '/api/models/acme/secret/%6Awt',
    '/acme/secret/RAW/main/config.json',
    '/v2/acme/secret/manifests/latest',
  ])('is not lent for %s', async (target) => {
    const { scene, issue } = await openCompany()
    await scene.ask(target, { token: await issue() })
    await scene.ask(target, { token: await issue('guest') })
    expect([...credentials(scene)].filter((field) => field !== undefined)).toEqual([])
  })

  it.each([
    '/api/models/acme/secret/auth-check',
    '/api/models/acme/secret/refs',
    '/acme/secret/raw/main/config.json',
    '/api/models/acme/secret',
    '/api/models/acme/secret/revision/main',
    '/api/models/acme/secret/tree/main',
    '/api/models/acme/secret/commits/main',
  ])('is lent for %s', async (target) => {
    const { scene, issue } = await openCompany()
    expect((await scene.ask(target, { token: await issue() })).status).toBe(200)
    expect((await scene.ask(target, { token: await issue('guest') })).status).toBe(401)
  })

  it.each([
    '/api/models/acme/secret/parquet',
    '/api/models/acme/secret/croissant',
    '/api/models/acme/secret/treesize/main',
    '/acme/secret.git/info/refs?service=git-upload-pack',
  ])('is sent with %s, whatever the Hub answers', async (target) => {
    const { scene, issue } = await openCompany()
    await scene.ask(target, { token: await issue() })
    const lent = [`Bearer ${COMPANY_TOKEN}`, basic('hubmirror', COMPANY_TOKEN)]
    expect([...credentials(scene)].some((field) => lent.includes(field ?? ''))).toBe(true)
  })

  it('does not let a caller choose which organisation the Hub bills', async () => {
    const { scene, issue } = await openCompany()
    const headers = { 'x-hf-bill-to': 'somebody' }
    const token = await issue()
    await scene.ask(SECRET, { token, headers })
    await scene.ask('/acme/secret/raw/main/config.json', { token, headers })
    const billed = () =>
      scene.hub.ledger.requests().filter((entry) => entry.headers['x-hf-bill-to'] !== undefined)
    expect(billed()).toEqual([])
    await scene.ask(SECRET, { token: TOKENS.alice, headers })
    expect(billed().length).toBeGreaterThan(0)
  })

  it('follows its file without a restart, reports its age, and warns once when it is old', async () => {
    const path = join(tmpdir(), `hubmirror-token-${process.pid}`)
    onTestFinished(() => rm(path, { force: true }))
    await writeFile(path, COMPANY_TOKEN)
    let nowMs = 0
    const token = Secret.following({
      initial: COMPANY_TOKEN,
      initialStamp: undefined,
      file: {
        stamp: () => String(statSync(path).mtimeMs),
        read: () => readFileSync(path, 'utf8'),
        writtenAt: () => statSync(path).mtimeMs,
      },
      faultOf: hubTokenFault,
      now: () => nowMs,
    })
    const wrote = new Date(START_AT - 91 * 86_400_000)
    await utimes(path, wrote, wrote)
    const { scene, issue } = await openCompany({ token })
    const mine = await issue()
    expect((await scene.ask(SECRET, { token: mine })).status).toBe(200)
    expect(metricValue(await scene.mirror.metrics(), 'hubmirror_hub_token_age_seconds{name="team"}')).toBe(
      91 * 86_400,
    )
    expect(scene.mirror.logText().split('a Hub token is old').length).toBe(2)
    await writeFile(path, `${COMPANY_TOKEN_NEXT}\n`)
    const later = new Date(START_AT)
    await utimes(path, later, later)
    nowMs += 1_000
    scene.hub.ledger.clear()
    expect((await scene.ask(SECRET, { token: mine })).status).toBe(200)
    expect(credentials(scene).has(`Bearer ${COMPANY_TOKEN_NEXT}`)).toBe(true)
    expect(credentials(scene).has(`Bearer ${COMPANY_TOKEN}`)).toBe(false)
    expect(metricValue(await scene.mirror.metrics(), 'hubmirror_hub_token_age_seconds{name="team"}')).toBe(0)
    // Content that is not a token is not sent: the last valid token stays in use, and the log says why, once.
    await writeFile(path, `HF_TOKEN="${COMPANY_TOKEN}"\n`)
    for (let turn = 0; turn < 3; turn += 1) {
      nowMs += 1_000
      scene.hub.ledger.clear()
      scene.clock.advance(120_000)
      expect((await scene.ask(SECRET, { token: mine })).status).toBe(200)
      expect([...credentials(scene)].filter((each) => each !== undefined)).toEqual([
        `Bearer ${COMPANY_TOKEN_NEXT}`,
      ])
    }
    const lines = scene.mirror.logLines('the last valid token stays in use')
    expect(lines).toEqual([expect.stringMatching(/"hubToken":"team".*quotes/)])
  })
})

describe('the log and the audit log', () => {
  it('name the mirror token, and the audit log the Hub token that was lent', async () => {
    const { scene, issue, now } = await openCompany()
    await scene.ask(SECRET, { token: await issue() })
    await scene.ask(SECRET, { token: await issue('old', { expiresAt: now() }) })
    await scene.ask(SECRET, { token: await issue('narrow', { repos: ['acme/open'] }) })
    await scene.ask('/api/models/acme/secret', { method: 'DELETE', token: await issue('eager') })
    await scene.ask(SECRET, { token: createMirrorToken() })
    const lines = await eventually(
      async () => (await scene.mirror.auditText()).trimEnd().split('\n'),
      (found) => found.length === 5,
    )
    const caller = (mirrorToken: string) => ({ kind: 'mirror-token', address: '127.0.0.1', mirrorToken })
    expect(lines.map((line) => JSON.parse(line))).toMatchObject([
      { caller: caller('ci'), decision: 'allowed', reason: 'proved', hubToken: 'team' },
      { caller: caller('old'), decision: 'denied', reason: 'mirror-token' },
      { caller: caller('narrow'), decision: 'denied', reason: 'mirror-token' },
      { caller: caller('eager'), decision: 'denied', reason: 'read-only' },
      { caller: { kind: 'mirror-token' }, decision: 'denied', reason: 'mirror-token' },
    ])
    expect(scene.mirror.logText()).toContain('"mirrorToken":"ci"')
  })
})
