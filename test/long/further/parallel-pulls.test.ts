// A large file that is not stored comes over several connections at once; its readers only notice that it is fast.

import { describe, expect, it } from 'vitest'
import { lfs } from '../../hub-simulator/repos.ts'
import { open } from '../../support/ask.ts'
import { eventually } from '../../support/eventually.ts'
import { TOKENS } from '../../support/mirror-world.ts'
import { openScene, type Scene } from '../../support/scene.ts'

const MIB = 1024 * 1024
const SIZE = 64 * MIB
/** What one connection is given of such a file. */
const SEGMENT = 8 * MIB
const TARGET = '/acme/large/resolve/main/large.bin'

async function openLarge(sizeBytes = SIZE, pullConnections = 6): Promise<Scene> {
  const scene = await openScene({ config: { pullConnections } })
  scene.world.model('acme/large').commit({ 'large.bin': lfs({ sizeBytes, seed: 42 }) })
  return scene
}

/** The ranges that the CDN was asked for, half-open and in the order of the file. */
function rangesAsked(scene: Scene, sizeBytes: number): [start: number, end: number][] {
  return scene.hub.ledger
    .requests({ server: 'cdn' })
    .map(({ headers }): [number, number] => {
      const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? '') ?? []
      return first === undefined ? [0, sizeBytes] : [Number(first), Number(last) + 1]
    })
    .sort(([left], [right]) => left - right)
}

/** The URL that comes with the first question is not worth remembering; the one that comes when bytes are wanted is. */
function forgetFirstUrl({ hub }: Scene): void {
  hub.signedUrlSeconds = 10
  const onRequest = () => {
    hub.signedUrlSeconds = 3600
  }
  hub.faults.add({ where: 'hub', method: 'GET', match: /resolve/, onRequest })
}

describe('a large file that is not stored', () => {
  it.each([
    { sizeMib: 64, configured: 6, connections: 4, requests: 8 },
    { sizeMib: 64, configured: 3, connections: 3, requests: 6 },
    { sizeMib: 33, configured: 6, connections: 3, requests: 5 },
    { sizeMib: 33, configured: 1, connections: 1, requests: 1 },
    { sizeMib: 16, configured: 6, connections: 1, requests: 1 },
  ])(
    'of $sizeMib MiB, with up to $configured connections, is fetched over $connections at once, each byte once',
    async (pull) => {
      const sizeBytes = pull.sizeMib * MIB
      const scene = await openLarge(sizeBytes, pull.configured)
      const { faults, ledger } = scene.hub
      faults.add({ where: 'cdn', stallAfterBytes: 100_000, times: pull.connections })
      const asked = scene.ask(TARGET)
      await faults.whenStalled(pull.connections)
      expect(ledger.requests({ server: 'cdn' })).toHaveLength(pull.connections)
      faults.release()
      const got = await asked
      expect([got.status, got.whole]).toEqual([200, true])
      expect(got.body.equals(scene.bytes('acme/large', 'large.bin'))).toBe(true)
      const ranges = rangesAsked(scene, sizeBytes)
      expect(ranges.map(([start]) => start)).toEqual([0, ...ranges.slice(0, -1).map(([, end]) => end)])
      expect([ranges.length, ranges.at(-1)?.[1]]).toEqual([pull.requests, sizeBytes])
      expect(ledger.bytes('cdn')).toBe(sizeBytes)
    },
  )

  it('with a signed URL that is about to expire costs the Hub one question, and waits for no connection', async () => {
    const scene = await openLarge()
    const { hub } = scene
    forgetFirstUrl(scene)
    hub.faults.add({ where: 'cdn', stallHeaders: true })
    const asked = scene.ask(TARGET)
    await hub.ledger.whenBytes({ server: 'cdn' }, SIZE - SEGMENT)
    hub.faults.release()
    expect((await asked).body.equals(scene.bytes('acme/large', 'large.bin'))).toBe(true)
    expect(hub.ledger.requests({ method: 'GET', url: '/resolve/' })).toHaveLength(1)
    expect(hub.ledger.bytes('cdn')).toBe(SIZE)
  })

  it('is fetched to its end though the token that requested it is no longer valid', async () => {
    const scene = await openLarge()
    const { hub } = scene
    forgetFirstUrl(scene)
    await scene.ask(TARGET, { method: 'HEAD', token: TOKENS.alice })
    scene.world.revokeToken(TOKENS.alice)
    const got = await scene.ask(TARGET, { token: TOKENS.alice })
    expect([got.status, got.body.equals(scene.bytes('acme/large', 'large.bin'))]).toEqual([200, true])
    const asked = hub.ledger.requests({ method: 'GET', url: '/resolve/' })
    expect(asked.map((entry) => hub.ledger.credential(entry))).toEqual([TOKENS.alice, undefined])
  })

  it('is fetched over several connections also if the Hub sends it itself', async () => {
    const scene = await openScene()
    const bytes = Buffer.alloc(33 * MIB, 'not in LFS ')
    scene.world.model('acme/large').commit({ 'large.bin': bytes })
    const { faults, ledger } = scene.hub
    faults.add({ where: 'hub', method: 'GET', match: /resolve-cache/, stallAfterBytes: 100_000, times: 3 })
    const asked = scene.ask(TARGET)
    await faults.whenStalled(3)
    faults.release()
    expect((await asked).body.equals(bytes)).toBe(true)
    expect(ledger.bytes('hub')).toBe(bytes.length)
  })

  it('reaches its reader in order and as it lands, though later bytes landed before', async () => {
    const scene = await openLarge()
    const { faults, ledger } = scene.hub
    // Neither the end of a block nor of a connection's part.
    const landed = MIB + 1000
    faults.add({ where: 'cdn', asksFor: 0, stallAfterBytes: landed })
    const answer = await open(scene.mirror.url, TARGET)
    const parts: Buffer[] = []
    let received = 0
    answer.on('data', (part: Buffer) => {
      parts.push(part)
      received += part.length
    })
    await ledger.whenBytes({ server: 'cdn' }, SIZE - SEGMENT + landed)
    await eventually(
      () => received,
      (bytes) => bytes === landed,
    )
    faults.release()
    await new Promise((resolve) => answer.once('close', resolve))
    expect(answer.complete).toBe(true)
    expect(Buffer.concat(parts).equals(scene.bytes('acme/large', 'large.bin'))).toBe(true)
    expect(ledger.bytes('cdn')).toBe(SIZE)
  })

  it.each([
    ['that no connection has come to', SIZE - MIB],
    ['far behind where a connection is', SEGMENT - MIB],
  ])('keeps no client waiting that wants bytes %s', async (_, start) => {
    const scene = await openLarge()
    const { faults } = scene.hub
    faults.add({ where: 'cdn', stallAfterBytes: 100_000, times: 4 })
    const first = scene.ask(TARGET)
    await faults.whenStalled(4)
    const range = `bytes=${start}-${start + 99_999}`
    const urgent = await scene.ask(TARGET, { headers: { range } })
    const right = scene.bytes('acme/large', 'large.bin')
    expect([urgent.status, urgent.whole]).toEqual([206, true])
    expect(urgent.body.equals(right.subarray(start, start + 100_000))).toBe(true)
    faults.release()
    expect((await first).body.equals(right)).toBe(true)
  })
})
