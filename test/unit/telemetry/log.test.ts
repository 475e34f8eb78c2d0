import { once } from 'node:events'
import { mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import * as fc from 'fast-check'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { MirrorError } from '../../../src/errors.ts'
import {
  createLogDestination,
  createLogger,
  fingerprint,
  logRequest,
  type RequestFields,
  redactUrl,
  scrub,
} from '../../../src/telemetry/log.ts'

interface Line {
  readonly [field: string]: unknown
  readonly err: Readonly<Record<string, unknown>> & { readonly message: string }
  readonly text: string
}

function capture(level = 'trace') {
  const lines: string[] = []
  const logger = createLogger({ level, destination: { write: (line: string) => void lines.push(line) } })
  return { logger, lines, last: () => JSON.parse(lines.at(-1) ?? '{}') as Line }
}

const TOKEN = `hf_${'aB3'.repeat(12)}`

const request: RequestFields = {
  requestId: 'r1',
  method: 'GET',
  route: 'file',
  about: { repo: 'org/name', revision: 'main', path: 'a.bin' },
  status: 200,
  outcome: 'hit',
  bytes: 3,
  originTrips: 0,
  firstByteMs: 1.2345,
  totalMs: 9.876,
  client: '127.0.0.1',
  token: 'abc123',
}

describe('a line', () => {
  it('has a level by name and an ISO time, and neither process nor host', () => {
    const { logger, last } = capture()
    logger.warn({ answer: 42 }, 'hello')
    expect(last()).toEqual({
      level: 'warn',
      time: expect.stringMatching(/^\d{4}-.*Z$/),
      answer: 42,
      msg: 'hello',
    })
  })

  it('holds plain data only, and a bounded amount of it', () => {
    const { logger, last } = capture()
    class Socket {
      readonly secret = 'inner'
    }
    logger.info({
      socket: new Socket(),
      headers: new Headers({ authorization: 'x' }),
      url: new URL('https://user:pw@host/a?b=c'),
      list: Array.from({ length: 100 }, (_, index) => index),
      text: 'x'.repeat(5000),
      deep: { a: { b: { c: { d: 1 } } } },
      buffer: Buffer.from('bytes'),
      count: 5n,
    })
    const line = last()
    expect(Object.keys(line).toSorted()).toEqual(['count', 'deep', 'level', 'list', 'text', 'time', 'url'])
    expect(line).toMatchObject({ url: 'https://host/a', count: '5', deep: { a: { b: {} } } })
    expect(line['list']).toHaveLength(20)
    expect(line['text'].length).toBeLessThan(1100)
  })

  it('has of a request its method and its path, and of an answer its status', () => {
    const { logger, last } = capture()
    const headers = { authorization: `Bearer ${TOKEN}` }
    logger.info({ req: { method: 'GET', url: '/a?token=b', headers }, res: { statusCode: 200, headers } })
    expect(last()).toMatchObject({ req: { method: 'GET', url: '/a' }, res: { statusCode: 200 } })
    expect(JSON.stringify(last())).not.toContain('headers')
  })
})

describe('an error in a line', () => {
  it('has a name, a code, a detail and bounded causes, and no stack when the network is at fault', () => {
    const { logger, last } = capture()
    const cause = Object.assign(new Error('connect refused'), {
      code: 'ECONNREFUSED',
      config: { token: 'x' },
    })
    logger.error(new MirrorError('origin_unreachable', { cause, detail: { host: 'hub' } }))
    expect(last()['err']).toEqual({
      name: 'MirrorError',
      code: 'origin_unreachable',
      message: expect.stringContaining('cannot reach the Hub'),
      detail: { host: 'hub' },
      cause: { name: 'Error', code: 'ECONNREFUSED', message: 'connect refused' },
    })
  })

  it('has a stack when the mirror itself is at fault', () => {
    const { logger, last } = capture()
    logger.error({ err: new MirrorError('bug', { cause: new TypeError('x is not a function') }) }, 'failed')
    expect(last()['err']['stack']).toContain('log.test.ts')
    expect(last()['err']['cause']).toMatchObject({ name: 'TypeError', stack: expect.any(String) })
  })

  it('is bounded in length and in causes, even when it is its own cause', () => {
    const { logger, lines, last } = capture()
    const error = Object.assign(new Error('x'.repeat(10_000)), { code: 'ELONG' })
    error.cause = error
    logger.error(error)
    expect(last()['err'].message.length).toBeLessThan(510)
    expect(lines.at(-1)?.length).toBeLessThan(5000)
  })

  it('may be any value that was thrown', () => {
    const { logger, last } = capture()
    logger.error({ err: 'a text' })
    expect(last()['err']).toBe('a text')
  })
})

describe('the line of a request', () => {
  it('has fixed names and times in tenths of milliseconds', async () => {
    const { logger, last } = capture()
    logRequest(logger, request)
    await setImmediate()
    const { time: _, ...line } = last()
    const { about, ...rest } = request
    expect(line).toEqual({ ...rest, ...about, level: 'info', msg: 'request', firstByteMs: 1.2, totalMs: 9.9 })
  })

  it('leaves out what is not known', async () => {
    const { logger, last } = capture()
    logRequest(logger, { ...request, about: { path: 'a.bin' }, firstByteMs: undefined, token: undefined })
    await setImmediate()
    expect(last()['requestId']).toBe('r1')
    expect(Object.keys(last())).not.toEqual(expect.arrayContaining(['repo']))
    expect('token' in last() || 'firstByteMs' in last()).toBe(false)
  })

  it('does not fill the log with probes, unless they fail', async () => {
    const { logger, lines } = capture('info')
    logRequest(logger, { ...request, route: 'ops', outcome: 'own' })
    await setImmediate()
    expect(lines).toEqual([])
    logRequest(logger, { ...request, route: 'ops', outcome: 'own', status: 503 })
    await setImmediate()
    expect(lines).toHaveLength(1)
  })

  it.each([
    ['a function', () => undefined],
    ['a symbol', Symbol('s')],
    ['an instance of a class', new Map()],
    ['an error without words', Object.assign(new Error('x'), { name: undefined, message: 5, stack: null })],
  ])('is JSON also where %s was thrown', async (_what, error) => {
    const { logger, last } = capture()
    logRequest(logger, { ...request, status: 500, error })
    await setImmediate()
    expect(last()).toMatchObject({ level: 'error', requestId: 'r1', msg: 'request' })
  })

  it('is bounded also if a proxy names the client', async () => {
    const { logger, lines } = capture()
    logRequest(logger, { ...request, client: 'x'.repeat(16_000) })
    await setImmediate()
    expect(lines.join('').length).toBeLessThan(2_000)
  })

  it('is written together with others of the same moment, each complete, whatever a client put into it', async () => {
    const { logger, lines } = capture('info')
    const path = 'a"b\\c\nd\u2028 " ,"level":"fatal'
    logRequest(logger, { ...request, about: { path } })
    logRequest(logger, {
      ...request,
      rule: 'one',
      mirrorToken: 'ci',
      status: 504,
      error: new MirrorError('origin_timeout'),
    })
    logRequest(logger, { ...request, about: { path: TOKEN } })
    await setImmediate()
    expect(lines).toHaveLength(1)
    const [first, second, third, ...rest] = lines.join('').split('\n')
    expect(JSON.parse(first ?? '')).toMatchObject({ level: 'info', path })
    expect(JSON.parse(second ?? '')).toMatchObject({
      level: 'warn',
      rule: 'one',
      mirrorToken: 'ci',
      err: { code: 'origin_timeout' },
    })
    expect(third).not.toContain(TOKEN)
    expect(rest).toEqual([''])
  })

  it('has the time of its request, to the millisecond, whenever it is written', async () => {
    vi.useFakeTimers({ toFake: ['Date'], now: 1_700_000_000_001 })
    onTestFinished(() => void vi.useRealTimers())
    const { logger, lines } = capture()
    for (const ms of [0, 1, 0, 998]) {
      vi.advanceTimersByTime(ms)
      logRequest(logger, request)
    }
    vi.advanceTimersByTime(60_000)
    await setImmediate()
    const times = lines.join('').match(/"time":"[^"]*"/g)
    expect(times).toEqual(
      ['20.001', '20.002', '20.002', '21.000'].map((second) => `"time":"2023-11-14T22:13:${second}Z"`),
    )
  })

  it('is written at once if many lines wait', () => {
    const { logger, lines } = capture()
    for (let count = 0; count < 1_100; count += 1) logRequest(logger, request)
    expect(lines.map((text) => text.split('\n').length - 1)).toEqual([512, 512])
  })

  it.each(['requestId', 'method', 'rule', 'client', 'mirrorToken'] as const)(
    'contains no credential and stays JSON, whatever the value of %s',
    async (field) => {
      for (const text of [
        TOKEN,
        `a-1:${TOKEN}`,
        '//user:password@host',
        '"',
        'a\\',
        'GET\nGET',
        'GET,"x":1',
      ]) {
        const { logger, lines, last } = capture()
        logRequest(logger, { ...request, [field]: text })
        await setImmediate()
        expect(lines).toHaveLength(1)
        expect(last()[field]).toBe(scrub(text))
        expect(last()[field]).not.toMatch(/hf_[aB3]|password/)
      }
    },
  )
})

describe('credentials', () => {
  const signed = `https://cdn.example/x?Policy=eyJhIjoxfQ__&Signature=Zm9v~-bar&Key-Pair-Id=KABC`
  const secrets: readonly [string, string, string][] = [
    ['a token', `x ${TOKEN} y`, TOKEN],
    ['an OAuth token', 'hf_oauth_eyJhbGciOi.abc-def', 'eyJhbGciOi'],
    ['a Bearer header', 'authorization: Bearer opaque/credential==', 'opaque'],
    ['an escaped Bearer', 'Bearer%20opaque', 'opaque'],
    ['a Basic header', 'Basic dXNlcjpwYXNzd29yZA==', 'dXNlcjpw'],
    ['a CloudFront signature', signed, 'Zm9v'],
    ['a CloudFront policy', signed, 'eyJhIjoxfQ'],
    ['a CloudFront key', signed, 'KABC'],
    ['an S3 signature', 'https://s3/x?X-Amz-Credential=AKIA%2F1&X-Amz-Signature=0a1b2c', '0a1b2c'],
    ['an escaped signature', 'next=%2Fx%3Fa%26X-Amz-Signature%3D0a1b2c', '0a1b2c'],
    ['a JWT', 'eyJhbGciOiJ.eyJzdWIiOiIx.SflKxwRJSMeK', 'SflKxwRJSMeK'],
    ['user-info', 'https://user:password@host/', 'password'],
  ]

  it.each(secrets)('never appear in a message: %s', (_, text, secret) => {
    const { logger, lines, last } = capture()
    logger.info(text)
    expect(last()['msg']).toContain('[redacted]')
    expect(lines.join('')).not.toContain(secret)
  })

  it.each(secrets)('never appear in a field, an error, a cause or a child: %s', (_, text, secret) => {
    const { logger, lines } = capture()
    const child = logger.child({ bound: text })
    child.error({ err: new Error('outer', { cause: new Error(text) }), nested: { list: [text] } }, text)
    child.error(new Error(text))
    expect(lines).toHaveLength(2)
    for (const line of lines) {
      expect(line).not.toContain(secret)
      expect(() => JSON.parse(line) as unknown).not.toThrow()
    }
  })

  it('leave no trace wherever a token is, and every line stays JSON', () => {
    const token = fc.stringMatching(/^hf_[A-Za-z0-9]{34}$/)
    const around = fc.string({ unit: 'binary' })
    fc.assert(
      fc.property(around, token, around, (before, secret, after) => {
        const { logger, lines } = capture()
        logger.info({ text: before + secret + after, err: new Error(before + secret) }, secret + after)
        expect(lines[0]).not.toContain(secret)
        expect(() => JSON.parse(lines[0] ?? '') as unknown).not.toThrow()
      }),
    )
  })

  it('are distinguished from words that only resemble them', () => {
    const harmless =
      'hf_hub_download of policy: deny; basic settings; signature missing; hf_transfer; a//b c@d'
    expect(scrub(harmless)).toBe(harmless)
  })

  it.each([
    ['https://u:p@host:1/a/b?c=d#e', 'https://host:1/a/b'],
    ['/org/repo/resolve/main/x?download=true', '/org/repo/resolve/main/x'],
    ['//user@host/x', '//host/x'],
    ['not a url', 'not a url'],
  ])('are not in the URL %s once it is redacted', (url, expected) => {
    expect(redactUrl(url)).toBe(expected)
  })

  it('have a fingerprint that is steady, short and different for each', () => {
    expect(fingerprint('a')).toMatch(/^[0-9a-f]{6}$/)
    expect(fingerprint('a')).toBe(fingerprint('a'))
    expect(fingerprint('a')).not.toBe(fingerprint('b'))
  })
})

it('the log writes through an asynchronous destination, and is complete once that is closed', async () => {
  const root = mkdtempSync(join(tmpdir(), 'hubmirror-log-'))
  try {
    // From here on the destination owns the descriptor, and closes it.
    const destination = createLogDestination({ fd: openSync(join(root, 'log'), 'w') })
    const logger = createLogger({ level: 'info', destination })
    for (let line = 0; line < 100; line += 1) logger.info({ line })
    const closed = once(destination, 'close')
    destination.end()
    await closed
    expect(readFileSync(join(root, 'log'), 'utf8').trimEnd().split('\n')).toHaveLength(100)
  } finally {
    rmSync(root, { recursive: true, force: true })
  }
})
