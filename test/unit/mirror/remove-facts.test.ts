import { setImmediate as yieldToEventLoop } from 'node:timers/promises'
import { expect, it, onTestFinished } from 'vitest'
import { removeFacts } from '../../../src/mirror/metadata/remove-facts.ts'

/** Keys that the disk gives slowly. */
async function* slowly(count: number): AsyncGenerator<string> {
  for (let index = 0; index < count; index += 1) {
    if (index % 500 === 1) for (let turn = 0; turn < 5; turn += 1) await yieldToEventLoop()
    yield `key ${index}`
  }
}

it('facts are removed a thousand at once, and all of them', async () => {
  const removed: string[] = []
  let running = 0
  let most = 0
  const remove = async (_kind: string, key: string): Promise<void> => {
    running += 1
    most = Math.max(most, running)
    await yieldToEventLoop()
    running -= 1
    removed.push(key)
  }
  expect(await removeFacts({ remove }, 'files', slowly(2_500))).toBe(2_500)
  expect([new Set(removed).size, most]).toEqual([2_500, 1_000])
})

it('a removal that fails rejects the whole, and no removal fails unseen', async () => {
  const unseen: unknown[] = []
  const note = (error: unknown): void => void unseen.push(error)
  process.on('unhandledRejection', note)
  onTestFinished(() => void process.off('unhandledRejection', note))
  const remove = () => Promise.reject(new Error('the disk has failed'))
  await expect(removeFacts({ remove }, 'files', slowly(700))).rejects.toThrow('the disk has failed')
  for (let turn = 0; turn < 10; turn += 1) await yieldToEventLoop()
  expect(unseen).toEqual([])
})
