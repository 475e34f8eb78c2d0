// The order in which things are made durable. What vouches for bytes never comes before the bytes, and nothing is removed
// before what replaces it would survive a power cut.

import type { FileHandle } from 'node:fs/promises'
import path from 'node:path'
import { beforeEach, expect, it, vi } from 'vitest'
import type { Layout } from '../../src/store/layout.ts'
import { DiskPartial } from '../../src/store/partials/partial.ts'
import { KEY, putBlocks, SIZE } from '../unit/store/partial-scratch.ts'
import { scratchLayout } from '../unit/store/scratch.ts'

const done = vi.hoisted(() => ({ calls: [] as string[] }))

vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof import('node:fs/promises')>()
  /** Records a call when it has succeeded. */
  const noted = async <T>(what: readonly unknown[], call: Promise<T>): Promise<T> => {
    const result = await call
    done.calls.push(what.join(' '))
    return result
  }
  const open = async (...args: Parameters<typeof real.open>): Promise<FileHandle> => {
    const handle = await real.open(...args)
    const [sync, datasync] = [handle.sync.bind(handle), handle.datasync.bind(handle)]
    return Object.assign(handle, {
      sync: () => noted(['sync', args[0]], sync()),
      datasync: () => noted(['sync', args[0]], datasync()),
    })
  }
  return {
    ...real,
    open,
    rename: (from: string, to: string) => noted(['rename', from, to], real.rename(from, to)),
    rm: (...args: Parameters<typeof real.rm>) => noted(['remove', args[0]], real.rm(...args)),
  }
})

beforeEach(() => {
  done.calls.length = 0
})

async function complete() {
  const layout = await scratchLayout()
  const partial = await DiskPartial.open(layout, KEY, SIZE)
  await putBlocks(partial, 0, 1, 2, 3, 4, 5)
  return { layout, partial, calls: watchCalls(layout) }
}

/** The calls from now on, in order and by short names. */
function watchCalls(layout: Layout): () => readonly string[] {
  const names: readonly (readonly [string, string])[] = [
    [path.join(layout.partial(KEY), 'data'), 'DATA'],
    [path.join(layout.partial(KEY), 'blocks'), 'MAP'],
    [layout.partial(KEY), 'PARTIAL'],
    [layout.blob(KEY), 'BLOB'],
    [path.dirname(layout.blob(KEY)), 'FAN'],
    [path.dirname(path.dirname(layout.blob(KEY))), 'ALGORITHM'],
    [layout.blobs, 'BLOBS'],
    [layout.root, 'ROOT'],
  ]
  done.calls.length = 0
  return () =>
    done.calls.map((call) =>
      names
        .reduce((text, [name, word]) => text.replaceAll(name, word), call)
        .replaceAll(/ROOT\/tmp\/[0-9a-f]+/g, 'NEW'),
    )
}

it('a record of blocks is made in this order: the data, the new map, its name, the directory that names it', async () => {
  const { partial, calls } = await complete()
  await partial.checkpoint()
  expect(calls()).toEqual(['sync DATA', 'sync NEW', 'rename NEW MAP', 'sync PARTIAL'])
  await partial.release()
})

it('a file is finished in this order: the data, its name, each new directory, and then the removal of the partial', async () => {
  const { partial, calls } = await complete()
  await partial.commit()
  expect(calls()).toEqual([
    'sync DATA',
    'rename DATA BLOB',
    'sync FAN',
    'sync ALGORITHM',
    'sync BLOBS',
    'sync ROOT',
    'remove PARTIAL',
  ])
  await partial.release()
})

it('a file in existing directories needs only a sync of the directory that names it', async () => {
  const { layout, partial, calls } = await complete()
  await partial.commit()
  await partial.release()
  const again = await DiskPartial.open(layout, KEY, SIZE)
  await putBlocks(again, 0, 1, 2, 3, 4, 5)
  done.calls.length = 0
  await again.commit()
  expect(calls()).toEqual(['sync DATA', 'rename DATA BLOB', 'sync FAN', 'remove PARTIAL'])
  await again.release()
})

it('a small file leaves nothing on the disk before all its bytes are given to the table', async () => {
  const layout = await scratchLayout()
  const stored: [string, string][] = []
  const partial = DiskPartial.inMemory(layout, KEY, 3, {
    store: (key, bytes) => Promise.resolve(void stored.push([key, bytes.toString()])),
  })
  await partial.write(0, [Buffer.from('abc')])
  const calls = watchCalls(layout)
  expect(stored).toEqual([])
  await partial.commit()
  expect(stored).toEqual([[KEY, 'abc']])
  expect(calls()).toEqual([])
  await partial.release()
})
