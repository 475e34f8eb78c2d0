// What may go wrong while the bytes of a file come from the Hub or the CDN, and what a client gets of it.

import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { Damage } from '../hub-simulator/faults.ts'
import { probe } from '../hub-simulator/probe.ts'
import { bytesOf, lfs, World } from '../hub-simulator/repos.ts'
import { type Hub, startHub } from '../hub-simulator/server.ts'
import { filesBelow, metricValue, type RunningMirror, startMirror } from './start-mirror.ts'
import { gitName, lfsName } from './store-check.ts'
import { type Verdict, verdictOf } from './verdict.ts'

const TOKEN = `hf_${'member'.padEnd(34, '0')}`
const BLOCK = 256 * 1024
const SIZE = 3 * BLOCK + 12_345
const SMALL = 70_000

let hub: Hub
let mirror: RunningMirror
/** The number of the repos that the running test reads. No other repo has their bytes. */
let number = 0

async function start(originTimeoutMs = 20_000): Promise<void> {
  hub = await startHub({ world: new World().addUser('member', { token: TOKEN }) })
  mirror = await startMirror({ hub, config: { originTimeoutMs } })
  addRepos()
}

async function close(): Promise<void> {
  hub.faults.clear()
  await mirror.close()
  await hub.close()
}

/** Adds an open and a private repo of which the mirror knows nothing. */
function addRepos(): void {
  number += 1
  const files = {
    'w.bin': lfs({ sizeBytes: SIZE, seed: 11 + number }),
    'text.bin': lfs(text()),
    'plain.bin': bytes(SMALL),
  }
  hub.world.model(`acme/open-${number}`).commit(files)
  hub.world.model(`acme/private-${number}`).private(['member']).commit(files)
}

function bytes(count: number): Uint8Array {
  return Uint8Array.from({ length: count }, (_, index) => (index * 31 + (index >> 8) + number) & 0xff)
}

const text = () => `${number} abcdefghijklmnopqrstuvwxyz`.repeat(20_000)

type RepoName = 'open' | 'private'

const right = (path: string) => bytesOf(hub.world.model(`acme/open-${number}`), 'main', path)
const get = (repo: RepoName, path: string, headers: Record<string, string> = {}) =>
  probe(`${mirror.url}/acme/${repo}-${number}/resolve/main/${path}`, {
    headers,
    ...(repo === 'private' ? { token: TOKEN } : {}),
  })
/** What lies in quarantine, by `<name of the partial>/<file>`; the folder is made for the first. */
const quarantined = async () => {
  const isThere = (await readdir(mirror.cacheDir)).includes('quarantine')
  return isThere ? await filesBelow(join(mirror.cacheDir, 'quarantine')) : new Map<string, Buffer>()
}
const stored = async () => [...(await filesBelow(join(mirror.cacheDir, 'blobs'))).keys()]

/** Asks under the fault, then without it: the second answer must be right, whatever the first one was. */
async function strike(
  repo: RepoName,
  path: 'w.bin' | 'plain.bin',
  damage: Damage & { readonly times?: number; readonly skip?: number; readonly match?: RegExp },
): Promise<Verdict> {
  const fault =
    path === 'w.bin'
      ? hub.faults.add({ where: 'cdn', ...damage })
      : hub.faults.add({
          where: 'hub',
          method: 'GET',
          match: repo === 'open' ? /resolve-cache/ : /resolve/,
          ...damage,
        })
  const got = await get(repo, path)
  const verdict = verdictOf(got, right(path))
  expect(fault.struck, 'the fault never struck').toBeGreaterThan(0)
  fault.remove()
  if (verdict !== 'whole') expect(await stored()).toEqual([])
  const healed = await get(repo, path)
  expect(verdictOf(healed, right(path))).toBe('whole')
  if (repo === 'private') expect(await stored()).toEqual([])
  return verdict
}

/** Declares the tests for a file of each of these repos. */
export function describeBodies(...repos: readonly RepoName[]): void {
  describe.each(repos)('a client that reads a file of a repo that is %s does not notice', (repo) => {
    // One mirror serves all of these tests: each of them has repos of its own, and leaves the mirror without a fault.
    beforeAll(() => start())
    beforeEach(() => {
      addRepos()
      hub.ledger.clear()
    })
    afterEach(() => hub.faults.clear())
    afterAll(close)

    it.each([
      ['a connection reset before headers', { resetBeforeHeaders: true }],
      ['two of them', { resetBeforeHeaders: true, times: 2 }],
      ...[0, 1, BLOCK - 1, BLOCK, BLOCK + 1, SIZE - 1].flatMap((cutAfterBytes): [string, Damage][] => [
        [`an end after ${cutAfterBytes} bytes`, { cutAfterBytes }],
        [`a reset after ${cutAfterBytes} bytes`, { cutAfterBytes, cutWith: 'rst' }],
      ]),
      ['an announced length that is too long', { contentLength: (real) => real + 10 }],
      ['an announced length that is too short', { contentLength: (real) => real - 10 }],
      ['an announced length of nothing', { contentLength: 0 }],
      ['a body without a length that is cut', { noContentLength: true, cutAfterBytes: BLOCK + 7 }],
      ['a body without a length that is whole', { noContentLength: true }],
      ['bytes beyond the end', { extraBytes: 100 }],
      ['an encoded body', { gzipAlways: true }],
      ['encoded bodies for good', { gzipAlways: true, times: 1000 }],
      ['a login page', { captivePortal: true }],
      ['a burst of 503', { status: { code: 503, body: 'later' }, times: 3 }],
      ['a 500', { status: { code: 500, body: 'oh' } }],
      ['a signed URL that has expired', { expireSignedUrls: true }],
    ] satisfies [string, Damage & { times?: number }][])('%s (LFS)', async (_, damage) => {
      expect(await strike(repo, 'w.bin', damage)).toBe('whole')
    })

    it.each([
      ['a connection reset before headers', { resetBeforeHeaders: true }],
      ...[0, 1, SMALL - 1].map((cutAfterBytes): [string, Damage] => [
        `an end after ${cutAfterBytes} bytes`,
        { cutAfterBytes },
      ]),
      ['an announced length that is too long', { contentLength: (real) => real + 10 }],
      ['an announced length that is too short', { contentLength: (real) => real - 10 }],
      ['a body without a length that is cut', { noContentLength: true, cutAfterBytes: 4321 }],
      ['bytes beyond the end', { extraBytes: 100 }],
      ['an encoded body', { gzipAlways: true }],
      ['encoded bodies for good', { gzipAlways: true, times: 1000 }],
      ['a login page', { captivePortal: true }],
      ['a burst of 503', { status: { code: 503, body: 'later' }, times: 3 }],
    ] satisfies [string, Damage & { times?: number }][])('%s (git)', async (_, damage) => {
      expect(await strike(repo, 'plain.bin', damage)).toBe('whole')
    })

    it('a cut every 64 KiB', async () => {
      expect(await strike(repo, 'w.bin', { cutAfterBytes: 65_536, times: 100 })).toBe('whole')
      const sent = hub.ledger.bytes('cdn')
      expect(sent).toBeLessThanOrEqual(repo === 'open' ? SIZE * 1.05 : SIZE * 2.05)
    })

    it('a CDN whose URL has moved, several times', async () => {
      const redirectTo = ({ url }: { url: string }) => `${hub.cdnUrl}${url}&moved=1`
      const match = /Signature=[^&]*&Key-Pair-Id=[^&]*$/
      expect(await strike(repo, 'w.bin', { redirectTo, match, times: 2 })).toBe('whole')
    })

    it('a part that is shorter than requested and longer than announced', async () => {
      hub.faults.add({ where: 'cdn', cutAfterBytes: 100 })
      const headers = { 'Content-Range': `bytes 100-109/${text().length}` }
      const body = `${text().slice(100, 110)}surplus`
      hub.faults.add({ where: 'cdn', skip: 1, status: { code: 206, headers, body } })
      expect(verdictOf(await get(repo, 'text.bin'), Buffer.from(text()))).toBe('whole')
    })

    it('ranges that the origin ignores, in a repeated request', async () => {
      hub.faults.add({ where: 'cdn', cutAfterBytes: BLOCK + 1 })
      hub.faults.add({ where: 'cdn', skip: 1, ignoreRange: true })
      expect(verdictOf(await get(repo, 'w.bin'), right('w.bin'))).toBe('whole')
    })

    it('a range that differs from the requested one', async () => {
      hub.faults.add({ where: 'cdn', cutAfterBytes: BLOCK + 1 })
      hub.faults.add({ where: 'cdn', skip: 1, wrongRange: true })
      expect(verdictOf(await get(repo, 'w.bin'), right('w.bin'))).toBe('whole')
    })
  })

  describe.each(repos)('a client that reads a file of a repo that is %s does not notice', (repo) => {
    afterEach(close)

    it('a stall in the middle', async () => {
      await start(3_000)
      expect(await strike(repo, 'w.bin', { stallAfterBytes: BLOCK + 100 })).toBe('whole')
      expect(hub.ledger.requests({ server: 'cdn' })[1]?.headers.range).toBe(
        `bytes=${BLOCK + 100}-${SIZE - 1}`,
      )
    })

    it('an answer that never begins', async () => {
      await start(3_000)
      expect(await strike(repo, 'w.bin', { stallHeaders: true })).toBe('whole')
    })
  })

  describe.each(repos)(
    'a client that reads a file of a repo that is %s gets a failure, never wrong bytes, after',
    (repo) => {
      afterEach(close)

      it.each([
        ['a wrong byte at the front', { corruptAt: 0 }, 'w.bin'],
        ['a wrong byte in the middle', { corruptAt: BLOCK + 9 }, 'w.bin'],
        ['a wrong byte at the end', { corruptAt: SIZE - 1 }, 'w.bin'],
        ['a wrong byte at the front (git)', { corruptAt: 0 }, 'plain.bin'],
        ['a wrong byte at the end (git)', { corruptAt: SMALL - 1 }, 'plain.bin'],
      ] satisfies [string, { corruptAt: number }, string][])(
        '%s, and the bytes are kept in quarantine only, and counted',
        async (_, damage, path) => {
          await start()
          expect(await strike(repo, path as 'w.bin', damage)).not.toBe('whole')
          const wrong = Buffer.from(right(path))
          wrong.writeUInt8(wrong.readUInt8(damage.corruptAt) ^ 0xff, damage.corruptAt)
          const name = path === 'w.bin' ? lfsName(right(path)) : gitName(right(path))
          const kept = [...(await quarantined())].filter(([file]) => file.endsWith('data'))
          // Bytes that pass through never touch the disk, right or wrong.
          expect(kept.map(([file]) => file)).toEqual(repo === 'open' ? [`${name}/data`] : [])
          for (const [, bytes] of kept) expect(bytes.equals(wrong)).toBe(true)
          const metrics = await mirror.metrics()
          expect(metricValue(metrics, 'hubmirror_integrity_failures_total{kind="digest"}')).toBe(1)
        },
      )

      it('a validator that changes between two parts, and the change is counted', async () => {
        await start()
        hub.faults.add({ where: 'cdn', cutAfterBytes: BLOCK + 1 })
        expect(await strike(repo, 'w.bin', { skip: 1, etagFlip: true })).toBe('broken')
        expect((await quarantined()).size).toBe(0)
        const metrics = await mirror.metrics()
        expect(metricValue(metrics, 'hubmirror_integrity_failures_total{kind="validator"}')).toBe(1)
      })

      it('a part of a file of another size, and the failure is counted', async () => {
        await start()
        hub.faults.add({ where: 'cdn', cutAfterBytes: BLOCK + 1 })
        const body = 'x'.repeat(10)
        const headers = {
          'Content-Range': `bytes ${BLOCK + 1}-${BLOCK + 10}/${SIZE + 99}`,
          'Content-Type': 'application/octet-stream',
        }
        expect(await strike(repo, 'w.bin', { skip: 1, status: { code: 206, headers, body } })).toBe('broken')
        expect((await quarantined()).size).toBe(0)
        const metrics = await mirror.metrics()
        expect(metricValue(metrics, 'hubmirror_integrity_failures_total{kind="length"}')).toBe(1)
      })

      it.each([
        ['resets for good', { resetBeforeHeaders: true, times: 1000 }],
        ['5xx for good', { status: { code: 500, body: 'no' }, times: 1000 }],
        ['login pages for good', { captivePortal: true, times: 1000 }],
        ['a coding that nobody knows, for good', { addHeaders: { 'Content-Encoding': 'zstd' }, times: 1000 }],
        ['expired URLs for good', { expireSignedUrls: true, times: 1000 }],
        ['ends after nothing for good', { cutAfterBytes: 0, times: 1000 }],
        ['a redirect to itself', { redirectTo: 'self', times: 1000 }],
      ] satisfies [string, Damage & { times: number }][])('%s', async (_, damage) => {
        await start()
        expect(await strike(repo, 'w.bin', damage)).toBe('error')
        // A mirror that hammers an origin in trouble keeps it there.
        expect(hub.ledger.requests({ server: 'cdn' }).length).toBeLessThan(20)
      })

      it('a lasting silence', async () => {
        await start(2_000)
        expect(await strike(repo, 'w.bin', { stallHeaders: true, times: 1000 })).toBe('error')
      })

      it('a lasting silence in the middle', async () => {
        await start(2_000)
        hub.faults.add({ where: 'cdn', skip: 1, stallHeaders: true, times: 1000 })
        const got = await get(repo, 'w.bin', {})
        expect(verdictOf(got, right('w.bin'))).toBe('whole')
      })

      it('a 429 of the CDN, which is passed on unchanged and requested once', async () => {
        await start()
        hub.faults.add({ where: 'cdn', rateLimit429: { retryAfter: 17 }, times: 1000 })
        const got = await get(repo, 'w.bin')
        expect([got.status, got.headers['retry-after']]).toEqual([429, '17'])
        expect(hub.ledger.requests({ server: 'cdn' })).toHaveLength(1)
      })
    },
  )
}
