// What may go wrong with one of several connections that bring one file, while the others go on. Private bytes are
// not here: they pass through over one.

import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import type { Damage } from '../hub-simulator/faults.ts'
import { type Got, probe } from '../hub-simulator/probe.ts'
import { bytesOf, lfs, World } from '../hub-simulator/repos.ts'
import { type Hub, startHub } from '../hub-simulator/server.ts'
import { metricValue, type RunningMirror, startMirror, whenIdle } from '../support/start-mirror.ts'
import { verdictOf } from '../support/verdict.ts'

const MIB = 1024 * 1024
const SIZE = 64 * MIB
/** How many connections bring a file of this size, and what one of them is given at a time. */
const CONNECTIONS = 4
const SEGMENT = 8 * MIB
/** Where the third of them begins: neither the reader's next byte nor the end of the file. */
const THIRD = 2 * SEGMENT
const AFTER = MIB + 100
const FILE = '/acme/open/resolve/main/w.bin'

let hub: Hub
let mirror: RunningMirror

afterEach(async () => {
  hub.faults.clear()
  await mirror.close()
  await hub.close()
})

async function start(originTimeoutMs = 20_000): Promise<void> {
  const world = new World()
  world.model('acme/open').commit({ 'w.bin': lfs({ sizeBytes: SIZE, seed: 21 }) })
  hub = await startHub({ world })
  mirror = await startMirror({ hub, config: { originTimeoutMs } })
}

const right = () => bytesOf(hub.world.model('acme/open'), 'main', 'w.bin')
const names = (place: string): Promise<string[]> => readdir(join(mirror.cacheDir, place)).catch(() => [])
const settled = () => whenIdle(() => mirror.metrics())
const failures = async (kind: string) =>
  metricValue(await mirror.metrics(), `hubmirror_integrity_failures_total{kind="${kind}"}`)

const statuses = (status: number) => hub.ledger.requests({ server: 'cdn', status }).length
/** How often the Hub was asked where the bytes are, beside the question what the file is. */
const urlsAsked = () => hub.ledger.requests({ server: 'hub', method: 'GET', url: /resolve/ }).length

/** The ranges that the CDN was asked for, half-open, as they came. */
function rangesAsked(): { start: number; end: number }[] {
  return hub.ledger.requests({ server: 'cdn' }).map(({ headers }) => {
    const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? '') ?? []
    return { start: Number(first), end: Number(last) + 1 }
  })
}

/** Holds all connections but the third in the middle of their parts. */
function holdOthers(): void {
  for (const asksFor of [0, SEGMENT, THIRD + SEGMENT])
    hub.faults.add({ where: 'cdn', asksFor, stallAfterBytes: AFTER })
}

/** Holds all connections until each of them is under way, then lets them go on, the third into the damage. */
async function strikeThird(damage: Damage): Promise<Got> {
  holdOthers()
  hub.faults.add({ where: 'cdn', asksFor: THIRD, stallHeaders: true, ...damage })
  const asked = probe(mirror.url + FILE)
  await hub.faults.whenStalled(CONNECTIONS)
  hub.faults.release()
  return asked
}

describe('a client of a file that is fetched over several connections does not notice one that', () => {
  it.each([
    ['is reset before headers', { resetBeforeHeaders: true }],
    ['ends in the middle', { cutAfterBytes: AFTER }],
    ['is reset in the middle', { cutAfterBytes: AFTER, cutWith: 'rst' }],
    ['announces less than it brings', { contentLength: AFTER }],
    ['brings another range', { wrongRange: true }],
    ['is answered 503', { status: { code: 503, body: 'later' } }],
    ['is answered by a login page', { captivePortal: true }],
    ['is encoded', { gzipAlways: true }],
  ] satisfies [string, Damage][])('%s: it is asked again for the missing bytes', async (_, damage) => {
    await start()
    expect(verdictOf(await strikeThird(damage), right())).toBe('whole')
    const [first, again, ...more] = rangesAsked().filter(({ end }) => end === THIRD + SEGMENT)
    expect([first?.start, more]).toEqual([THIRD, []])
    const landed = 'cutAfterBytes' in damage || 'contentLength' in damage ? AFTER : 0
    // A reset may take bytes away that were under way.
    if ('cutWith' in damage) expect(again?.start).toBeLessThanOrEqual(THIRD + landed)
    else expect(again?.start).toBe(THIRD + landed)
    expect(again?.start).toBeGreaterThanOrEqual(THIRD)
    expect(rangesAsked()).toHaveLength(SIZE / SEGMENT + 1)
    await settled()
    expect(await names('blobs/sha256')).toHaveLength(1)
  })

  it.each([
    // Its end is an error, which drops what the mirror has not read yet when it is busy. Only that may be asked for again.
    ['announces more than it brings', { contentLength: (real) => real + 10 }, 1],
    ['brings more than was asked for', { extraBytes: 100 }, 0],
  ] satisfies [string, Damage, number][])('%s: all of its part has arrived', async (_, damage, mostAgain) => {
    await start()
    expect(verdictOf(await strikeThird(damage), right())).toBe('whole')
    const isAgain = ({ start, end }: { readonly start: number; readonly end: number }): boolean =>
      start > THIRD && end === THIRD + SEGMENT
    expect(rangesAsked().filter((range) => !isAgain(range))).toHaveLength(SIZE / SEGMENT)
    expect(rangesAsked().filter(isAgain).length).toBeLessThanOrEqual(mostAgain)
  })

  it('falls silent in the middle: the others fetch the rest meanwhile', async () => {
    await start(3_000)
    hub.faults.add({ where: 'cdn', asksFor: THIRD, stallAfterBytes: AFTER })
    expect(verdictOf(await probe(mirror.url + FILE), right())).toBe('whole')
    expect(rangesAsked()).toHaveLength(SIZE / SEGMENT + 1)
    expect(rangesAsked().at(-1)).toEqual({ start: THIRD + AFTER, end: THIRD + SEGMENT })
  })

  it('gets the whole file instead of its part: the bytes before its part are skipped', async () => {
    await start()
    expect(verdictOf(await strikeThird({ ignoreRange: true }), right())).toBe('whole')
    const [struck] = hub.ledger.requests({ server: 'cdn', status: 200 })
    expect(struck?.headers.range).toBe(`bytes=${THIRD}-${THIRD + SEGMENT - 1}`)
    // A body that is skipped from its start must not be skipped too far.
    expect(struck?.bytesSent).toBeGreaterThanOrEqual(THIRD + SEGMENT)
  })

  it('finds its signed URL expired: it gets another', async () => {
    await start()
    expect(verdictOf(await strikeThird({ expireSignedUrls: true }), right())).toBe('whole')
    expect(statuses(403)).toBe(1)
    expect(urlsAsked()).toBe(1)
  })
})

describe('a client of a file that is fetched over several connections does not notice', () => {
  it('a signed URL that expires in the middle: the Hub is asked for another once', async () => {
    await start()
    // The second part of each connection.
    for (let part = CONNECTIONS; part < 2 * CONNECTIONS; part += 1) {
      const asksFor = part * SEGMENT
      hub.faults.add({ where: 'cdn', asksFor, stallHeaders: true, expireSignedUrls: true })
    }
    const asked = probe(mirror.url + FILE)
    await hub.faults.whenStalled(CONNECTIONS)
    hub.faults.release()
    expect(verdictOf(await asked, right())).toBe('whole')
    expect(statuses(403)).toBe(CONNECTIONS)
    expect(urlsAsked()).toBe(1)
    expect(hub.ledger.bytes('cdn')).toBe(SIZE)
  })

  it('an origin that knows no ranges: one connection fetches the rest as soon as that shows', async () => {
    await start()
    hub.faults.add({ where: 'cdn', ignoreRange: true, times: 1000 })
    expect(verdictOf(await probe(mirror.url + FILE), right())).toBe('whole')
    expect(rangesAsked().at(-1)).toEqual({ start: CONNECTIONS * SEGMENT, end: SIZE })
    expect(rangesAsked()).toHaveLength(CONNECTIONS + 1)
  })
})

describe('a file that is fetched over several connections is neither kept nor whole for a client if one of them', () => {
  it.each([
    ['brings a file of another validator', { etagFlip: true }, 'validator'],
    [
      'brings a part of a file of another size',
      {
        status: {
          code: 206,
          headers: { 'Content-Range': `bytes ${THIRD}-${THIRD + 9}/${SIZE + 1}` },
          body: '0123456789',
        },
      },
      'length',
    ],
  ] satisfies [string, Damage, string][])('%s: the others end', async (_, damage, kind) => {
    await start()
    holdOthers()
    const onRequest = () => hub.faults.whenStalled(CONNECTIONS - 1)
    hub.faults.add({ where: 'cdn', asksFor: THIRD, onRequest, ...damage })
    // On a busy machine the pull may end before the head of the answer is sent. The client gets an honest error then.
    expect(verdictOf(await probe(mirror.url + FILE), right())).not.toBe('whole')
    // No code releases them: they end because the pull has.
    const asked = await hub.ledger.whenDone({ server: 'cdn' }, CONNECTIONS)
    const held = asked.filter(({ headers }) => headers.range?.startsWith(`bytes=${THIRD}-`) !== true)
    expect(held.map(({ aborted, bytesSent }) => [aborted, bytesSent])).toEqual([
      [true, AFTER],
      [true, AFTER],
      [true, AFTER],
    ])
    await settled()
    expect(hub.ledger.requests({ server: 'cdn' })).toHaveLength(CONNECTIONS)
    expect(await failures(kind)).toBe(1)
    for (const place of ['blobs/sha256', 'partial', 'quarantine']) expect(await names(place)).toEqual([])
    expect(verdictOf(await probe(mirror.url + FILE), right())).toBe('whole')
  })

  it('sends a wrong byte: the bytes are put into quarantine', async () => {
    await start()
    expect(verdictOf(await strikeThird({ corruptAt: THIRD + AFTER }), right())).toBe('broken')
    await settled()
    expect(hub.ledger.bytes('cdn')).toBe(SIZE)
    expect(await failures('digest')).toBe(1)
    for (const place of ['blobs/sha256', 'partial']) expect(await names(place)).toEqual([])
    const wrong = right()
    wrong.writeUInt8(wrong.readUInt8(THIRD + AFTER) ^ 0xff, THIRD + AFTER)
    const [kept = '', ...more] = await names('quarantine')
    expect(more).toEqual([])
    expect((await readFile(join(mirror.cacheDir, 'quarantine', kept, 'data'))).equals(wrong)).toBe(true)
    expect(verdictOf(await probe(mirror.url + FILE), right())).toBe('whole')
  })
})
