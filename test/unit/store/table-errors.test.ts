// Why a table of facts cannot be opened: each reason is a sentence that names the cure.

import { constants } from 'node:os'
import { describe, expect, it } from 'vitest'
import { loadKernelLock } from '../../../src/store/lock.ts'
import { openTable } from '../../../src/store/table/table.ts'
import { guard, guardOpening } from '../../../src/store/table/table-errors.ts'
import { scratchLayout } from './scratch.ts'

/** Without the optional addon, other owners of a process id are not noticed. */
const knowsOwners = process.platform === 'linux' && (await loadKernelLock()) !== undefined

/** An error as LMDB throws it: with the number of the system's error. */
const errorOf = (number: number) => Object.assign(new Error('what LMDB says'), { code: number })
const throws = (error: Error) => () => {
  throw error
}

describe('a table of facts', () => {
  it.each(['ENOLCK', 'ENODEV', 'ENOSYS', 'EINVAL'] as const)(
    'on a volume that answers %s is refused with the volumes that are fit for it',
    (code) => {
      const open = throws(errorOf(constants.errno[code]))
      expect(() => guardOpening('/data/facts/data.mdb', open)).toThrow(
        /^\/data\/facts\/data\.mdb cannot be used \(what LMDB says\).*a local disk/,
      )
    },
  )

  it('reports any other error of the disk by its name', () => {
    for (const code of ['ENOSPC', 'EIO', 'EACCES'] as const)
      expect(() => guardOpening('f', throws(errorOf(constants.errno[code])))).toThrow(
        expect.objectContaining({ code }),
      )
    expect(() => guard('f', throws(errorOf(constants.errno.EINVAL)))).toThrow(
      expect.objectContaining({ code: 'EINVAL' }),
    )
  })

  it.skipIf(!knowsOwners)(
    'that a process with the same id has open, as in another container, is refused with where to run the command',
    async () => {
      const { facts } = await scratchLayout()
      const table = await openTable(facts, { readOnly: false })
      // This process stands for the other one.
      await expect(openTable(facts, { readOnly: true })).rejects.toThrow(/the same process id .*docker exec/)
      await table.close()
      const again = await openTable(facts, { readOnly: false })
      await again.close()
    },
  )
})
