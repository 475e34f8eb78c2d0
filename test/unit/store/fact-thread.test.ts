// The thread that owns the table of facts, and its end.

import { describe, expect, it, onTestFinished } from 'vitest'
import { factId } from '../../../src/store/facts/fact-bytes.ts'
import { FactThread } from '../../../src/store/facts/fact-thread.ts'
import { scratchLayout } from './scratch.ts'

async function scratchThread(): Promise<FactThread> {
  const { facts: directory } = await scratchLayout()
  const thread = new FactThread({
    directory,
    readOnly: false,
    limitBytes: () => 1e9,
    onBytes() {},
  })
  onTestFinished(() => thread.close())
  return thread
}

const nameOf = (key: string) => ({ kind: 'files', id: factId(key) }) as const

describe('the thread of facts', () => {
  it('ends only after its table is closed, and requests that come meanwhile get another one', async () => {
    const thread = await scratchThread()
    for (let round = 0; round < 8; round += 1) {
      const key = `fact ${round}`
      const changed = thread.change({ act: 'put', ...nameOf(key), bytes: Buffer.from(key), usedAt: 0 })
      const closed = thread.close()
      const again = round % 2 === 0 ? thread.close() : undefined
      await changed
      const found = thread.read(nameOf(key))
      await Promise.all([closed, again])
      expect((await found)?.bytes.toString()).toBe(key)
    }
  })

  it('answers what was asked for before it is closed', async () => {
    const thread = await scratchThread()
    await thread.change({ act: 'put', ...nameOf('k'), bytes: Buffer.from('v'), usedAt: 0 })
    const reads = Array.from({ length: 50 }, () => thread.read(nameOf('k')))
    await thread.close()
    for (const found of await Promise.all(reads)) expect(found?.bytes.toString()).toBe('v')
  })
})
