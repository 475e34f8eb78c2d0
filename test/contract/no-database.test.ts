// A platform for which there is no build of LMDB.

import { expect, it, vi } from 'vitest'
import { openTable } from '../../src/store/table/table.ts'
import { scratchDirectory } from '../unit/store/scratch.ts'

vi.mock('lmdb', () => {
  throw new Error('No native build was found')
})

it('a platform without a build of LMDB is reported with the way to install one', async () => {
  const directory = await scratchDirectory()
  await expect(openTable(directory, { readOnly: false })).rejects.toThrow(
    /cannot be loaded on \w+-\w+ .*--omit=optional.*npm rebuild lmdb/,
  )
})
