// How stored bytes come from the disk: into few buffers that are used again, large ones and two at a time only for
// clients that read; and once for many who take the same file.

import type { IncomingMessage } from 'node:http'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { ReadBuffers } from '../../src/server/body/read-buffers.ts'
import { lfs } from '../hub-simulator/repos.ts'
import { ask, open } from '../support/ask.ts'
import { eventually } from '../support/eventually.ts'
import { openScene, type Scene } from '../support/scene.ts'

const MIB = 1024 * 1024
/** What a stream with a client that reads takes at once, if there are few. */
const LARGEST = 2 * MIB
const SIZE = 32 * MIB
const PROVEN = 16 * MIB
const SMALL = 128 * 1024
/** Of what many read in common: a piece, and all of it. */
const SHARED = 256 * 1024
const SHARED_BUDGET = 32 * MIB
/** So many streams need no proof. */
const FEW = 4
const TARGET = '/acme/big/resolve/main/big.bin'

const times = <T>(count: number, value: T): T[] => Array.from({ length: count }, () => value)

/** Counts the buffers that the streams of this process hold. */
function watchBuffers() {
  const held = new Set<Buffer>()
  const seen = new Set<Buffer>()
  /** By reads, in order: how large, and how many were held then, itself included. */
  const reads: { readonly sizeBytes: number; readonly held: number }[] = []
  const pools = new Set<ReadBuffers>()
  const take = Reflect.get(ReadBuffers.prototype, 'acquire') as (
    this: ReadBuffers,
    sizeBytes: number,
  ) => Buffer
  const give = Reflect.get(ReadBuffers.prototype, 'release') as (this: ReadBuffers, buffer: Buffer) => void
  const taking = vi.spyOn(ReadBuffers.prototype, 'acquire').mockImplementation(function (
    this: ReadBuffers,
    size,
  ) {
    const buffer = take.call(this, size)
    expect(held.has(buffer), 'lent to two at once').toBe(false)
    pools.add(this)
    held.add(buffer)
    seen.add(buffer)
    reads.push({ sizeBytes: size, held: held.size })
    return buffer
  })
  const giving = vi.spyOn(ReadBuffers.prototype, 'release').mockImplementation(function (
    this: ReadBuffers,
    buffer,
  ) {
    expect(held.delete(buffer), 'given back twice').toBe(true)
    give.call(this, buffer)
  })
  onTestFinished(() => {
    taking.mockRestore()
    giving.mockRestore()
  })
  return { held, seen, reads, pools }
}

async function warmBig(): Promise<Scene> {
  const scene = await openScene()
  scene.world.model('acme/big').commit({ 'big.bin': lfs({ sizeBytes: SIZE, seed: 42 }) })
  await scene.ask(TARGET)
  await scene.settled()
  return scene
}

/** Takes the file, which must be right, from the disk. */
async function takeBig(scene: Scene): Promise<void> {
  const { headers, body } = await ask(scene.mirror.url, TARGET)
  expect([headers['x-cache'], body.equals(scene.bytes('acme/big', 'big.bin'))]).toEqual(['HIT', true])
}

describe('a stored file', () => {
  it('read by few clients is read in large pieces, ahead of what is being sent', async () => {
    const scene = await warmBig()
    const { held, seen, reads } = watchBuffers()
    await takeBig(scene)
    const [first, ...ahead] = reads
    expect(first).toEqual({ sizeBytes: LARGEST, held: 1 })
    expect(ahead).toEqual(times(SIZE / LARGEST - 1, { sizeBytes: LARGEST, held: 2 }))
    await eventually(
      () => held.size,
      (count) => count === 0,
    )
    expect(seen.size, 'two buffers, in turn').toBe(2)
  })

  it('read by more clients is read in small pieces, one at a time, until its client has read for a while', async () => {
    const scene = await warmBig()
    const { held, reads, pools } = watchBuffers()
    await takeBig(scene)
    // As many as there may be without proof, who hold nothing.
    for (const pool of pools) for (let other = 0; other < FEW; other += 1) pool.register()
    await eventually(
      () => held.size,
      (count) => count === 0,
    )
    reads.length = 0
    await takeBig(scene)
    const young = reads.filter(({ sizeBytes }) => sizeBytes < LARGEST)
    expect(young).toEqual(times(PROVEN / SMALL, { sizeBytes: SMALL, held: 1 }))
    // The last small piece is still on its way when the first large one is read.
    expect(reads.slice(young.length)).toEqual(
      times((SIZE - PROVEN) / LARGEST, { sizeBytes: LARGEST, held: 2 }),
    )
  })

  it('that many clients request and do not read costs few small buffers in total', async () => {
    const scene = await warmBig()
    const { held, reads, pools } = watchBuffers()
    const heldBytes = (): number => [...held].reduce((sum, { length }) => sum + length, 0)
    const idlers = await stalled(scene, 30)
    // Those who came while they were few may hold two large ones. The others wait at much the same place.
    expect(heldBytes()).toBeLessThanOrEqual(FEW * 2 * LARGEST + 10 * SHARED)
    // A client that reads gets all of it meanwhile, and what it has read is kept for them to a bound.
    expect((await scene.ask(TARGET)).whole).toBe(true)
    expect(heldBytes()).toBeLessThanOrEqual(FEW * 2 * LARGEST + SHARED_BUDGET + idlers.length * SMALL)
    const before = reads.length
    for (const answer of idlers) answer.destroy()
    // No stream is counted any more: the next one reads as one alone does.
    const [pool] = pools
    await eventually(
      () => pool?.sizeFor(0),
      (sizeBytes) => sizeBytes === LARGEST,
    )
    await eventually(
      async () => scene.mirror.logLines('"route":"file"').length,
      (lines) => lines === idlers.length + 2,
    )
    expect(reads.length, 'read for clients who have left').toBe(before)
  })

  it('that many clients read is read from disk once for all of them', async () => {
    const scene = await warmBig()
    const { reads } = watchBuffers()
    await stalled(scene, FEW + 1)
    // So much that all of it is kept for those who stand at its beginning.
    const range = `bytes=0-${SHARED_BUDGET / 2 - 1}`
    const part = scene.bytes('acme/big', 'big.bin').subarray(0, SHARED_BUDGET / 2)
    const takePart = async (): Promise<void> => {
      const { body } = await ask(scene.mirror.url, TARGET, { headers: { range } })
      expect(body.equals(part)).toBe(true)
    }
    await takePart()
    const before = reads.length
    await Promise.all(times(20, 0).map(takePart))
    // How many share a read depends on when they come: on a busy machine some fall behind, and the file is opened again
    // each second. Without sharing there would be one read for each client and piece.
    const unshared = (20 * SHARED_BUDGET) / 2 / SHARED
    expect(reads.length - before).toBeLessThan(unshared / 2)
  })

  it('arrives whole at each of many clients that wait for it, and no buffer stays in use', async () => {
    const scene = await openScene()
    scene.world.model('acme/big').commit({ 'big.bin': lfs({ sizeBytes: SIZE, seed: 42 }) })
    const { held, reads } = watchBuffers()
    const right = scene.bytes('acme/big', 'big.bin')
    const takeWhole = async (): Promise<boolean> => (await ask(scene.mirror.url, TARGET)).body.equals(right)
    expect(await Promise.all(times(2 * FEW, 0).map(takeWhole))).toEqual(times(2 * FEW, true))
    expect(reads.map(({ sizeBytes }) => sizeBytes)).toContain(SHARED)
    await eventually(
      () => held.size,
      (count) => count === 0,
    )
  })
})

/** So many who take the file, and read nothing once it has begun. */
async function stalled(scene: Scene, count: number): Promise<IncomingMessage[]> {
  const answers = await Promise.all(Array.from({ length: count }, () => open(scene.mirror.url, TARGET)))
  for (const answer of answers) answer.on('error', () => undefined).pause()
  return answers
}
