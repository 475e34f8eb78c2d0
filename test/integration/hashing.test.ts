// Where bytes are hashed: of many of them not a single one on the thread that answers.

import { expect, it, onTestFinished, vi } from 'vitest'
import { Verifier } from '../../src/store/digest.ts'
import { HashThread } from '../../src/store/partials/hash-thread.ts'
import { lfs } from '../hub-simulator/repos.ts'
import { openScene } from '../support/scene.ts'

const MIB = 1024 * 1024
const target = (path: string) => `/acme/big/resolve/main/${path}`

/** Bytes hashed on this thread, and the files that the other one was given. */
function watchHashing() {
  const seen = { bytesHere: 0, files: 0 }
  const update = Reflect.get(Verifier.prototype, 'update') as (this: Verifier, bytes: Uint8Array) => void
  const open = Reflect.get(HashThread.prototype, 'open') as HashThread['open']
  const spies = [
    vi.spyOn(Verifier.prototype, 'update').mockImplementation(function (this: Verifier, bytes) {
      seen.bytesHere += bytes.length
      update.call(this, bytes)
    }),
    vi.spyOn(HashThread.prototype, 'open').mockImplementation(function (this: HashThread, ...args) {
      seen.files += 1
      return open.apply(this, args)
    }),
  ]
  onTestFinished(() => {
    for (const spy of spies) spy.mockRestore()
  })
  return seen
}

it.each([
  ['whole', 2 * MIB + 1, [undefined]],
  ['whole, over several connections', 20 * MIB, [undefined]],
  ['by ranges that make it whole', 4 * MIB, ['bytes=2097152-', 'bytes=0-2097151', undefined]],
] as const)('a large file that is requested %s is hashed on another thread', async (_, sizeBytes, ranges) => {
  const scene = await openScene()
  scene.world.model('acme/big').commit({ 'big.bin': lfs({ sizeBytes, seed: 3 }) })
  const seen = watchHashing()
  for (const range of ranges) {
    const reply = await scene.ask(target('big.bin'), range === undefined ? {} : { headers: { range } })
    expect(reply.whole).toBe(true)
  }
  await scene.settled()
  expect(seen).toEqual({ bytesHere: 0, files: 1 })
  // The verdict came from there: it is a blob.
  expect((await scene.ask(target('big.bin'))).headers['x-cache']).toBe('HIT')
})

it('a wrong byte in a large file is found on the other thread', async () => {
  const scene = await openScene()
  scene.world.model('acme/big').commit({ 'big.bin': lfs({ sizeBytes: 4 * MIB, seed: 3 }) })
  const seen = watchHashing()
  scene.hub.faults.add({ where: 'cdn', corruptAt: 3 * MIB })
  expect((await scene.ask(target('big.bin'))).whole).toBe(false)
  await scene.settled()
  expect(seen).toEqual({ bytesHere: 0, files: 1 })
})

it('a small file is hashed on the main thread, where that takes less time than to hand it over', async () => {
  const scene = await openScene()
  scene.world.model('acme/big').commit({ 'small.bin': lfs({ sizeBytes: MIB, seed: 3 }) })
  const seen = watchHashing()
  expect((await scene.ask(target('small.bin'))).whole).toBe(true)
  await scene.settled()
  expect(seen).toEqual({ bytesHere: MIB, files: 0 })
})
