import { gunzipSync } from 'node:zlib'
import { afterEach, describe, expect, it } from 'vitest'
import type { Damage } from '../hub-simulator/faults.ts'
import { ALICE, BIG_BYTES, matrixWorld } from '../hub-simulator/matrix-world.ts'
import { type Asked, type Got, probe } from '../hub-simulator/probe.ts'
import { bytesOf } from '../hub-simulator/repos.ts'
import { type Hub, type HubOptions, startHub } from '../hub-simulator/server.ts'

let hub: Hub
let running: Hub | undefined

afterEach(() => running?.close())

async function start(options: HubOptions = {}): Promise<Hub> {
  hub = await startHub({ world: matrixWorld(), ...options })
  running = hub
  return hub
}

const get = (url: string, asked?: Asked): Promise<Got> =>
  probe(url.startsWith('/') ? hub.url + url : url, asked)
const file = (repo: string, path = 'config.json') => `/${repo}/resolve/main/${path}`
const cdnUrl = async () => (await get(file('acme/open', 'w.bin'))).headers.location ?? ''

describe('a fault of the simulator may', () => {
  const whole = () => bytesOf(hub.world.model('acme/open'), 'main', 'w.bin')
  const strike = async (damage: Damage, headers: Record<string, string> = {}): Promise<Got> => {
    await start()
    const url = await cdnUrl()
    hub.faults.add({ where: 'cdn', ...damage })
    return get(url, { headers })
  }

  it('reset a connection before any header', async () => {
    await expect(strike({ resetBeforeHeaders: true })).rejects.toThrow(/ECONNRESET|hang up/)
  })

  it.each([0, 1, 65_535, 65_536, BIG_BYTES - 1])(
    'cut the body after exactly %i bytes',
    async (cutAfterBytes) => {
      const got = await strike({ cutAfterBytes })
      expect([got.status, got.isComplete]).toEqual([200, false])
      expect(got.body.equals(whole().subarray(0, cutAfterBytes))).toBe(true)
      expect((await hub.ledger.whenDone({ server: 'cdn' }))[0]).toMatchObject({
        aborted: true,
        bytesSent: cutAfterBytes,
      })
    },
  )

  it('cut the body by a reset, too', async () => {
    const got = await strike({ cutAfterBytes: 1000, cutWith: 'rst' })
    expect(got.isComplete).toBe(false)
  })

  it('stall in the middle until it is released', async () => {
    await start()
    const url = await cdnUrl()
    hub.faults.add({ where: 'cdn', stallAfterBytes: 70_000 })
    const got = get(url)
    await hub.faults.whenStalled()
    expect(hub.ledger.bytes('cdn')).toBe(70_000)
    hub.faults.release()
    expect((await got).body.equals(whole())).toBe(true)
  })

  it('stall the headers until it is released', async () => {
    await start()
    hub.faults.add({ where: 'hub', stallHeaders: true })
    const got = get(file('legacy'))
    await hub.faults.whenStalled()
    expect(hub.ledger.requests()[0]?.status).toBe(0)
    hub.faults.release()
    expect((await got).status).toBe(200)
  })

  it('corrupt one byte and leave the length right', async () => {
    const got = await strike({ corruptAt: 200_000 })
    expect([got.isComplete, got.body.length]).toEqual([true, BIG_BYTES])
    const right = whole()
    const different = [...got.body.keys()].filter((index) => got.body[index] !== right[index])
    expect(different).toEqual([200_000])
  })

  it('announce more or fewer bytes than they send', async () => {
    const long = await strike({ contentLength: (real) => real + 10 })
    expect([long.isComplete, long.body.length]).toEqual([false, BIG_BYTES])
    await hub.close()
    await start()
    const url = await cdnUrl()
    hub.faults.add({ where: 'cdn', contentLength: 100 })
    expect((await fetch(url).then((answer) => answer.arrayBuffer())).byteLength).toBe(100)
    hub.faults.add({ where: 'cdn', extraBytes: 5 })
    expect((await fetch(url).then((answer) => answer.arrayBuffer())).byteLength).toBe(BIG_BYTES)
    expect((await hub.ledger.whenDone({ server: 'cdn' }, 2))[1]?.bytesSent).toBe(BIG_BYTES + 5)
  })

  it('ignore a range, or answer another one', async () => {
    const headers = { range: 'bytes=10-19' }
    const ignored = await strike({ ignoreRange: true }, headers)
    expect([ignored.status, ignored.body.length]).toEqual([200, BIG_BYTES])
    await hub.close()
    const other = await strike({ wrongRange: true }, headers)
    expect([other.status, other.headers['content-range']]).toEqual([206, `bytes 11-20/${BIG_BYTES}`])
    expect(other.body.equals(whole().subarray(11, 21))).toBe(true)
  })

  it('end a body by closing, without a length, cut or whole alike', async () => {
    const got = await strike({ noContentLength: true, cutAfterBytes: 1000 })
    expect(got.headers['content-length']).toBeUndefined()
    expect(got.headers['transfer-encoding']).toBeUndefined()
    expect([got.isComplete, got.body.length]).toEqual([true, 1000])
  })

  it('change, weaken or drop headers', async () => {
    await start()
    const url = file('acme/open', 'w.bin')
    const right = (await get(url)).headers['x-linked-etag']
    hub.faults.add({ where: 'hub', etagFlip: true })
    const flipped = (await get(url)).headers['x-linked-etag']
    expect(flipped).toMatch(/^"[0-9a-f]{64}"$/)
    expect(flipped).not.toBe(right)
    hub.faults.add({ where: 'hub', weakEtag: true, dropHeader: 'X-Repo-Commit' })
    const { headers } = await get(url)
    expect([headers['x-linked-etag'], headers['x-repo-commit']]).toEqual([`W/${String(right)}`, undefined])
  })

  it.each<[string, Damage, number]>([
    ['a status', { status: { code: 503, body: 'no' } }, 503],
    ['a login page', { captivePortal: true }, 200],
    ['too many requests', { rateLimit429: { retryAfter: 2 } }, 429],
    ['a redirect to itself', { redirectTo: 'self' }, 302],
    ['an expired URL', { expireSignedUrls: true }, 403],
  ])('answer with %s', async (_what, damage, status) => {
    expect((await strike(damage)).status).toBe(status)
  })

  it('encode what was not requested to be encoded', async () => {
    const got = await strike({ gzipAlways: true })
    expect(gunzipSync(got.body).equals(whole())).toBe(true)
  })

  it('apply to the n-th request and a number of later ones, on the path that it names', async () => {
    await start()
    const fault = hub.faults.add({ where: 'hub', match: /legacy/, skip: 1, times: 2, status: { code: 500 } })
    const statuses: number[] = []
    for (let index = 0; index < 4; index += 1) {
      statuses.push((await get(file('legacy'))).status)
      expect((await get(file('acme/private'), { token: ALICE })).status).toBe(200)
    }
    expect(statuses).toEqual([200, 500, 500, 200])
    expect(fault.struck).toBe(2)
  })

  it('apply to the one of several ranges that asks for a byte, and to each request for the whole', async () => {
    await start()
    const url = await cdnUrl()
    const fault = hub.faults.add({ where: 'cdn', asksFor: 150, times: 9, status: { code: 500 } })
    const statuses: number[] = []
    for (const range of [
      'bytes=0-149',
      'bytes=100-149',
      'bytes=150-199',
      'bytes=0-',
      'bytes=151-',
      'bytes=-9',
    ])
      statuses.push((await get(url, { headers: { range } })).status)
    expect(statuses).toEqual([206, 206, 500, 500, 206, 206])
    expect((await get(url)).status).toBe(500)
    expect(fault.struck).toBe(3)
  })

  it('close a gate between the question and the answer', async () => {
    await start()
    const onRequest = () => {
      hub.world.model('acme/open').gated()
    }
    hub.faults.add({ where: 'hub', onRequest })
    expect((await get(file('acme/open'))).headers['x-error-code']).toBe('GatedRepo')
  })

  it('send slowly at its rate, as the throttle does', async () => {
    await start({ bytesPerSecondPerConnection: 1_000_000 })
    const startedAt = performance.now()
    const got = await get(await cdnUrl())
    expect(got.body.length).toBe(BIG_BYTES)
    expect(performance.now() - startedAt).toBeGreaterThan(250)
  })

  it('take the Hub away and bring it back on the same ports', async () => {
    await start()
    const { url } = hub
    await hub.stop()
    await expect(get(`${url}/`)).rejects.toThrow('ECONNREFUSED')
    await hub.start()
    expect((await get(`${url}/`)).status).toBe(200)
  })

  it('end with the server: a stalled answer does not delay its closing', async () => {
    await start()
    const url = await cdnUrl()
    hub.faults.add({ where: 'cdn', stallAfterBytes: 10 })
    const got = get(url)
    await hub.faults.whenStalled()
    await hub.close()
    expect((await got).isComplete).toBe(false)
  })
})
