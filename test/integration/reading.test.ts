// How stored bytes come from the disk: into few buffers that are used again, large ones and two at a time only for
// clients that read.

import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { ReadBuffers } from '../../src/server/read-buffers.ts'
import { lfs } from '../hub-simulator/repos.ts'
import { ask, open } from '../support/ask.ts'
import { eventually } from '../support/eventually.ts'
import { openScene, type Scene } from '../support/scene.ts'

const MIB = 1024 * 1024
const SIZE = 32 * MIB
const PROVEN = 16 * MIB
const SMALL = 128 * 1024
/** So many streams need no proof. */
const FEW = 4
const TARGET = '/acme/big/resolve/main/big.bin'

const times = <T>(count: number, value: T): T[] => Array.from({ length: count }, () => value)

/** Watches what is lent to the streams of this process. */
function watchBuffers() {
  const held = new Set<Buffer>()
  const seen = new Set<Buffer>()
  /** By reads, in order: how large, and how many were held then, itself included. */
  const reads: { readonly sizeBytes: number; readonly held: number }[] = []
  const pools = new Set<ReadBuffers>()
  const take = Reflect.get(ReadBuffers.prototype, 'take') as (this: ReadBuffers, sizeBytes: number) => Buffer
  const give = Reflect.get(ReadBuffers.prototype, 'give') as (this: ReadBuffers, buffer: Buffer) => void
  const taking = vi.spyOn(ReadBuffers.prototype, 'take').mockImplementation(function (
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
  const giving = vi.spyOn(ReadBuffers.prototype, 'give').mockImplementation(function (
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
  it('that few clients take is read in large pieces, ahead of what is being sent', async () => {
    const scene = await warmBig()
    const { held, seen, reads } = watchBuffers()
    await takeBig(scene)
    const [first, ...ahead] = reads
    expect(first).toEqual({ sizeBytes: MIB, held: 1 })
    expect(ahead).toEqual(times(SIZE / MIB - 1, { sizeBytes: MIB, held: 2 }))
    await eventually(
      () => held.size,
      (count) => count === 0,
    )
    expect(seen.size, 'two buffers, in turn').toBe(2)
  })

  it('that more take is read in small pieces, one at a time, until its client has read for a while', async () => {
    const scene = await warmBig()
    const { held, reads, pools } = watchBuffers()
    await takeBig(scene)
    // As many as there may be without proof, who hold nothing.
    for (const pool of pools) for (let other = 0; other < FEW; other += 1) pool.enter()
    await eventually(
      () => held.size,
      (count) => count === 0,
    )
    reads.length = 0
    await takeBig(scene)
    const young = reads.filter(({ sizeBytes }) => sizeBytes < MIB)
    expect(young).toEqual(times(PROVEN / SMALL, { sizeBytes: SMALL, held: 1 }))
    // The last small piece is still on its way when the first large one is read.
    expect(reads.slice(young.length)).toEqual(times((SIZE - PROVEN) / MIB, { sizeBytes: MIB, held: 2 }))
  })

  it('that many take and do not read costs each of them one small buffer', async () => {
    const scene = await warmBig()
    const { held, reads, pools } = watchBuffers()
    const idlers = await Promise.all(Array.from({ length: 30 }, () => open(scene.mirror.url, TARGET)))
    for (const answer of idlers) answer.on('error', () => undefined).pause()
    // A client that reads gets all of it meanwhile.
    expect((await scene.ask(TARGET)).whole).toBe(true)
    // Those who came while they were few may hold two large ones.
    expect(held.size).toBeGreaterThanOrEqual(idlers.length)
    expect(held.size).toBeLessThanOrEqual(idlers.length + FEW)
    const heldBytes = [...held].reduce((sum, { length }) => sum + length, 0)
    expect(heldBytes).toBeLessThanOrEqual(FEW * 2 * MIB + idlers.length * SMALL)
    const before = reads.length
    for (const answer of idlers) answer.destroy()
    // Nobody is counted any more: the next one reads as one alone does.
    const [pool] = pools
    await eventually(
      () => pool?.sizeFor(0),
      (sizeBytes) => sizeBytes === MIB,
    )
    await eventually(
      async () => scene.mirror.logLines('"route":"file"').length,
      (lines) => lines === idlers.length + 2,
    )
    expect(reads.length, 'read for clients who have left').toBe(before)
  })
})
