// The thread that owns the tables: several at a time, closed and opened again.

import { writeFile } from 'node:fs/promises'
import { describe, expect, it, onTestFinished } from 'vitest'
import { factId } from '../../../src/store/facts/fact-bytes.ts'
import { TableThread } from '../../../src/store/table/table-thread.ts'
import { scratchLayout } from './scratch.ts'

async function scratchThread(): Promise<TableThread> {
  const { facts: directory } = await scratchLayout()
  const thread = new TableThread({ directory, readOnly: false })
  onTestFinished(() => thread.close())
  return thread
}

const nameOf = (key: string) => ({ kind: 'files', id: factId(key) }) as const

describe('the thread of tables', () => {
  it('closes a table after its changes, and opens it again for requests that come meanwhile', async () => {
    const thread = await scratchThread()
    for (let round = 0; round < 8; round += 1) {
      const key = `fact ${round}`
      const changed = thread.change({ act: 'put', ...nameOf(key), bytes: Buffer.from(key), usedAt: 0 })
      const closed = thread.close()
      const again = round % 2 === 0 ? thread.close() : undefined
      await changed
      const found = thread.readFact(nameOf(key))
      await Promise.all([closed, again])
      expect((await found)?.bytes.toString()).toBe(key)
    }
  })

  it('keeps tables apart, also while one of them is closed', async () => {
    const threads = await Promise.all(Array.from({ length: 4 }, scratchThread))
    const put = (index: number) => ({ act: 'put', bytes: Buffer.from(`${index}`), usedAt: 0 }) as const
    await Promise.all(threads.map((thread, index) => thread.change({ ...put(index), ...nameOf('k') })))
    const closed = threads[0]?.close()
    const found = await Promise.all(threads.map((thread) => thread.readFact(nameOf('k'))))
    expect(found.map((fact) => fact?.bytes.toString())).toEqual(['0', '1', '2', '3'])
    await closed
  })

  it('rejects requests for a table that cannot be opened, and answers those for others', async () => {
    const good = await scratchThread()
    const { facts: directory } = await scratchLayout()
    await writeFile(`${directory}/data.mdb`, 'no database'.repeat(1000))
    const damaged = new TableThread({ directory, readOnly: false })
    await expect(damaged.open()).rejects.toThrow('is damaged')
    expect([damaged.sawDamage, good.sawDamage]).toEqual([true, false])
    await damaged.close()
    expect(await good.readFact(nameOf('k'))).toBeUndefined()
  })

  it('answers what was asked for before it is closed', async () => {
    const thread = await scratchThread()
    await thread.change({ act: 'put', ...nameOf('k'), bytes: Buffer.from('v'), usedAt: 0 })
    const reads = Array.from({ length: 50 }, () => thread.readFact(nameOf('k')))
    await thread.close()
    for (const found of await Promise.all(reads)) expect(found?.bytes.toString()).toBe('v')
  })
})
