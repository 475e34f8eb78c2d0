import { mkdtemp, readFile, rename, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  type AccessEvent,
  type AuditListener,
  accessLine,
  accessResultOf,
  actLine,
  openAuditLog,
  UnusableAuditLog,
} from '../../../src/telemetry/audit.ts'
import { eventually } from '../../support/eventually.ts'

const AT = new Date('2026-01-02T03:04:05.678Z')

function event(more: Partial<AccessEvent> = {}): AccessEvent {
  return {
    requestId: 'r-1',
    method: 'GET',
    route: 'file',
    caller: { kind: 'hub-token', address: '10.0.0.1', token: 'abc123' },
    repo: 'models/acme/open',
    revision: 'main',
    path: 'config.json',
    note: { decision: 'allowed', reason: 'proved' },
    status: 200,
    ...more,
  }
}

describe('a line of the audit log', () => {
  it('has the caller, the target, the decision and the reason', () => {
    const note = {
      decision: 'denied',
      reason: 'policy',
      rule: 'no pickles',
      code: 'DeniedByPolicy',
      mirrorToken: 'ci',
      hubToken: 'company',
    } as const
    const text = accessLine(event({ note, status: 403 }), AT)
    expect(JSON.parse(text)).toEqual({
      time: '2026-01-02T03:04:05.678Z',
      audit: 'access',
      requestId: 'r-1',
      caller: { kind: 'hub-token', address: '10.0.0.1', token: 'abc123', mirrorToken: 'ci' },
      method: 'GET',
      route: 'file',
      repo: 'models/acme/open',
      revision: 'main',
      path: 'config.json',
      decision: 'denied',
      reason: 'policy',
      code: 'DeniedByPolicy',
      rule: 'no pickles',
      hubToken: 'company',
      status: 403,
    })
  })

  it('is one line of JSON that gives back any text, and moves no terminal', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (path) => {
        const text = accessLine(event({ path, repo: path, revision: path }), AT)
        expect(text.indexOf('\n')).toBe(text.length - 1)
        expect(text.slice(0, -1)).not.toMatch(/[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/u)
        expect(JSON.parse(text).path).toBe(path)
      }),
    )
  })

  it('is bounded, and contains no credential, whatever a path contains', () => {
    const token = `hf_${'a1B2'.repeat(9).slice(0, 34)}`
    const text = accessLine(event({ path: `x/${token}"\\\n`, revision: 'r'.repeat(100_000) }), AT)
    expect(text).not.toContain(token)
    expect(text.length).toBeLessThan(6_000)
    expect(JSON.parse(text).decision).toBe('allowed')
  })

  it('about a command says which user did what', () => {
    const by = { kind: 'os-user', name: 'root', uid: 0 } as const
    const text = actLine({ act: 'prune', by, details: { repo: 'models/acme/open', blobs: 2 } }, AT)
    expect(JSON.parse(text)).toEqual({
      time: '2026-01-02T03:04:05.678Z',
      audit: 'act',
      act: 'prune',
      by,
      repo: 'models/acme/open',
      blobs: 2,
    })
  })
})

describe('the result label of the metric', () => {
  it.each([
    ['public', { decision: 'allowed', reason: 'public' }],
    ['public', { decision: 'allowed', reason: 'was-public' }],
    ['granted', { decision: 'allowed', reason: 'proved' }],
    ['granted', { decision: 'allowed', reason: 'remembered' }],
    ['refused', { decision: 'refused', reason: 'hub' }],
    ['denied', { decision: 'denied', reason: 'policy' }],
    ['limited', { decision: 'limited', reason: 'quota' }],
    ['unknown', { decision: 'unknown', reason: 'error' }],
  ] as const)('is %s for %j', (result, note) => {
    expect(accessResultOf(note)).toBe(result)
  })
})

describe('the file', () => {
  let directory: string
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'hubmirror-audit-'))
  })
  afterEach(() => rm(directory, { recursive: true, force: true }))

  const open = async (path: string, told: string[] = []) => {
    const listener: AuditListener = {
      onFailed: () => void told.push('failed'),
      onRecovered: () => void told.push('recovered'),
      onLost: () => void told.push('lost'),
    }
    return await openAuditLog({ kind: 'file', path }, { now: () => AT.getTime(), listener })
  }
  const lines = async (path: string) =>
    (await readFile(path, 'utf8')).split('\n').filter((line) => line !== '')

  it('is readable only by its owner, and lines are appended', async () => {
    const path = join(directory, 'audit.log')
    for (const count of [1, 2]) {
      const log = await open(path)
      log.access(event())
      await log.close()
      expect((await lines(path)).length).toBe(count)
    }
    expect((await stat(path)).mode & 0o777).toBe(0o600)
  })

  it('is created again when it was moved away and the log is reopened, and no line is lost', async () => {
    const path = join(directory, 'audit.log')
    const log = await open(path)
    for (let round = 0; round < 50; round += 1) log.access(event({ requestId: `before-${round}` }))
    await rename(path, `${path}.1`)
    log.reopen()
    for (let round = 0; round < 50; round += 1) log.access(event({ requestId: `after-${round}` }))
    await log.close()
    const all = [...(await lines(`${path}.1`)), ...(await lines(path))]
    expect(all.length).toBe(100)
    expect((await stat(path)).mode & 0o777).toBe(0o600)
    const more = await open(path)
    more.access(event({ requestId: 'last' }))
    await more.close()
    expect((await lines(path)).at(-1)).toContain('last')
  })

  it('that cannot be opened is reported at once', async () => {
    await expect(open(join(directory, 'no', 'such', 'folder'))).rejects.toThrow(UnusableAuditLog)
  })

  it('on a full disk is reported once, keeps its lines, loses those beyond its bound, and closes', async () => {
    const told: string[] = []
    const log = await open('/dev/full', told)
    log.access(event())
    await eventually(
      () => told,
      (heard) => heard.length > 0,
    )
    log.access(event())
    await eventually(
      () => told,
      (heard) => heard.includes('failed'),
    )
    expect(told).toEqual(['failed'])
    const path = 'p'.repeat(4_000)
    for (let round = 0; round < 4_500; round += 1) log.access(event({ path }))
    expect(told.filter((word) => word === 'lost').length).toBeGreaterThan(0)
    expect(told.filter((word) => word === 'failed').length).toBe(1)
    await log.close()
  })
})

describe('no audit log', () => {
  it('takes everything and writes nothing', async () => {
    const listener = { onFailed: fail, onRecovered: fail, onLost: fail }
    const log = await openAuditLog(undefined, { now: Date.now, listener })
    log.access(event())
    log.act({ act: 'scrub', by: { kind: 'mirror' }, details: {} })
    log.reopen()
    await log.close()
  })

  it('for stdout goes through the stream of the log, a line at a time', async () => {
    const written: string[] = []
    const listener = { onFailed: fail, onRecovered: fail, onLost: fail }
    const stdout = { write: (text: string) => void written.push(text) }
    const log = await openAuditLog({ kind: 'stdout' }, { now: Date.now, listener, stdout })
    log.access(event())
    log.access(event())
    await log.close()
    expect(written.map((text) => JSON.parse(text).audit)).toEqual(['access', 'access'])
  })
})

function fail(): never {
  throw new Error('nothing was expected')
}
