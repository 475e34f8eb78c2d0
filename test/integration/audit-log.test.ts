// The audit log through the whole mirror: its lines for each kind of request, and that no request waits for it.

import { rename, stat } from 'node:fs/promises'
import { describe, expect, it } from 'vitest'
import { eventually } from '../support/eventually.ts'
import { TOKENS } from '../support/mirror-world.ts'
import { openScene, type Scene } from '../support/scene.ts'
import { metricValue } from '../support/start-mirror.ts'

type Line = Record<string, unknown>

/** The lines so far, once there are `count` of them. */
const linesOf = (scene: Scene, count: number) =>
  eventually(
    async () =>
      (await scene.mirror.auditText())
        .split('\n')
        .filter((text) => text !== '')
        .map((text) => JSON.parse(text) as Line),
    (lines) => lines.length >= count,
  )

const SECRET = '/acme/secret/resolve/main/config.json'
const OPEN = '/acme/open/resolve/main/config.json'

describe('a request in the audit log', () => {
  it('is one line with the caller, the target, the decision and its reason', async () => {
    const scene = await openScene({ config: { refTtlMs: 60_000 } })
    const due: Line[] = []
    const visit = async (target: string, more: Line, question: Parameters<Scene['ask']>[1] = {}) => {
      const got = await scene.ask(target, question)
      due.push({ ...more, status: got.status, requestId: got.headers['x-request-id'] })
      await linesOf(scene, due.length)
      await scene.settled()
    }
    const file = { route: 'file', revision: 'main', path: 'config.json', method: 'GET' }
    const secret = { ...file, repo: 'models/acme/secret' }
    const open = { ...file, repo: 'models/acme/open' }
    const anonymous = { kind: 'anonymous', address: '127.0.0.1' }
    await visit(OPEN, { ...open, decision: 'allowed', reason: 'public', caller: anonymous })
    await visit(OPEN, { ...open, decision: 'allowed', reason: 'public', caller: anonymous })
    await visit(SECRET, { ...secret, decision: 'allowed', reason: 'proved' }, { token: TOKENS.alice })
    await visit(SECRET, { ...secret, decision: 'allowed', reason: 'remembered' }, { token: TOKENS.alice })
    await visit(
      SECRET,
      { ...secret, decision: 'refused', reason: 'hub', code: 'RepoNotFound' },
      { token: TOKENS.bob },
    )
    await visit(SECRET, { ...secret, decision: 'refused', reason: 'hub' }, { token: TOKENS.invalid })
    await visit('/acme/gated/resolve/main/config.json', {
      ...file,
      repo: 'models/acme/gated',
      decision: 'refused',
      code: 'GatedRepo',
    })
    await visit('/acme/open/resolve/main/none.txt', {
      ...open,
      path: 'none.txt',
      decision: 'allowed',
      reason: 'hub',
      code: 'EntryNotFound',
    })
    const info = { route: 'document', repo: 'models/acme/secret', decision: 'allowed', reason: 'proved' }
    await visit('/api/models/acme/secret', info, { token: TOKENS.alice })
    await visit(
      '/api/whoami-v2',
      { route: 'document', decision: 'allowed', reason: 'proved' },
      { token: TOKENS.alice },
    )
    await visit(
      '/acme/open/info/refs?service=git-upload-pack',
      { route: 'pass-through', repo: 'models/acme/open' },
      {},
    )
    await scene.hub.stop()
    scene.clock.advance(120_000)
    await visit(OPEN, { ...open, decision: 'allowed', reason: 'was-public' })
    const away = { decision: 'unknown', reason: 'error', code: 'origin_unreachable' }
    await visit(SECRET, { ...secret, ...away }, { token: TOKENS.alice })
    // The mirror's own routes need no right.
    await scene.ask('/healthz')
    const lines = await linesOf(scene, due.length)
    expect(lines.length).toBe(due.length)
    for (const [index, line] of lines.entries()) {
      expect(line).toMatchObject({ audit: 'access', ...due[index] })
      expect(Date.parse(String(line['time']))).toBeGreaterThan(0)
    }
    // The same name for the same token as in the log, and another one for another.
    const names = lines.map((line) => (line['caller'] as Line)['token'])
    expect(names[2]).toMatch(/^[0-9a-f]{6}$/)
    expect(names[3]).toBe(names[2])
    expect(names[4]).not.toBe(names[2])
    expect(scene.mirror.logText()).toContain(`"token":"${String(names[2])}"`)
    const text = await scene.mirror.metrics()
    const count = (result: string) =>
      metricValue(text, `hubmirror_access_decisions_total{result="${result}"}`)
    const words = ['public', 'granted', 'refused', 'denied', 'limited', 'unknown']
    expect(words.reduce((sum, word) => sum + (count(word) ?? 0), 0)).toBe(lines.length)
    expect([count('granted'), count('refused'), count('unknown'), count('limited')]).toEqual([6, 3, 1, 0])
  })

  it('is recorded as denied by the mirror, or as over a quota, where it is', async () => {
    const scene = await openScene({ config: { writes: 'deny' } })
    const denied = await scene.ask('/api/models/acme/open/commit/main', {
      method: 'POST',
      token: TOKENS.alice,
      body: '{}',
    })
    expect(denied.status).toBe(403)
    scene.hub.faults.add({ where: 'hub', rateLimit429: { retryAfter: 7 } })
    expect((await scene.ask('/api/models/acme/open')).status).toBe(429)
    expect(await linesOf(scene, 2)).toMatchObject([
      { decision: 'denied', reason: 'read-only', status: 403 },
      { decision: 'limited', reason: 'quota', status: 429 },
    ])
  })

  it('stays one line with a hostile path and a hostile id', async () => {
    const scene = await openScene()
    const path = 'a%22%7d%7b%22decision%22:%22allowed%22%e2%80%a8%e2%80%ae%c2%85.txt'
    await scene.ask(`/acme/open/resolve/main/${path}`, { headers: { 'x-request-id': 'a"b\\c' } })
    const [line, ...rest] = await linesOf(scene, 1)
    expect(rest).toEqual([])
    expect(String(line?.['requestId'])).not.toContain('"')
  })
})

describe('the file of the audit log', () => {
  it('moved away and opened again goes on under its name', async () => {
    const scene = await openScene()
    const { auditLog } = scene.mirror.config
    if (auditLog?.kind !== 'file') throw new Error('no file')
    await scene.ask(OPEN)
    await linesOf(scene, 1)
    await rename(auditLog.path, `${auditLog.path}.1`)
    scene.mirror.app.reopenAuditLog()
    await eventually(
      () =>
        stat(auditLog.path).then(
          ({ mode }) => mode & 0o777,
          () => undefined,
        ),
      (mode) => mode === 0o600,
    )
    await scene.ask(OPEN)
    expect((await linesOf(scene, 1)).length).toBe(1)
    await rename(`${auditLog.path}.1`, auditLog.path)
  })

  it('on a full disk stops no request, and is reported in the log', async () => {
    const scene = await openScene({ config: { auditLog: { kind: 'file', path: '/dev/full' } } })
    for (let round = 0; round < 3; round += 1) expect((await scene.ask(OPEN)).status).toBe(200)
    await eventually(
      async () => metricValue(await scene.mirror.metrics(), 'hubmirror_audit_degraded'),
      (degraded) => degraded === 1,
    )
    expect(scene.mirror.logText()).toContain('the audit log cannot be written')
    expect((await scene.ask(OPEN)).status).toBe(200)
  })

  it('that cannot be opened keeps the mirror from starting', async () => {
    const scene = await openScene()
    const path = `${scene.mirror.cacheDir}/no/such/folder/audit.log`
    await expect(scene.another({ config: { auditLog: { kind: 'file', path } } })).rejects.toThrow(
      /cannot write the audit log/,
    )
  })
})
