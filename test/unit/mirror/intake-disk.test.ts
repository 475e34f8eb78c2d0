// What a command that brings content reads when the disk, or the table, of the mirror fails.

import { constants } from 'node:os'
import { expect, it } from 'vitest'
import type { Intake } from '../../../src/mirror/intake.ts'
import { answerIntake } from '../../../src/mirror/intake-requests.ts'
import { guard, TablePanic } from '../../../src/store/table/table-errors.ts'

/** An error as LMDB throws it: with a number. */
const ofLmdb = (code: number, message: string) => Object.assign(new Error(message), { code })

/** What the answer to rows of files is, if the table throws this when it changes. */
async function answerTo(thrown: Error) {
  const failed: unknown[] = []
  const change = (): void => guard('/data/facts/data.mdb', () => throwIt(thrown))
  const intake = {
    isReadOnly: false,
    place: '/data',
    failed: (error: unknown) => failed.push(error),
    keepFiles: () => new Promise<void>((resolve) => resolve(change())),
  }
  const body = JSON.stringify({ repo: { repo: 'models/acme/open', isPublic: true }, files: [] })
  const { status, value } = await answerIntake(intake as unknown as Intake, 'files', {
    about: '',
    body: (async function* () {
      yield await Promise.resolve(Buffer.from(body))
    })(),
    signal: new AbortController().signal,
  })
  return { status, error: (value as { error: string }).error, failed: failed.length }
}

function throwIt(error: Error): never {
  throw error
}

const FULL = 'the store /data cannot be written: its disk is full (ENOSPC). Make room there'
const { ENOSPC, EIO, ENOMEM } = constants.errno

it.each([
  ['a full disk within a transaction', ofLmdb(ENOSPC, 'No space left on device'), FULL],
  ['a write cut short', ofLmdb(EIO, 'Input/output error'), 'its disk has failed, or is full (EIO)'],
  ['a failed commit', new TablePanic('/data/facts/data.mdb'), 'its disk has failed, or is full (EIO)'],
  ['no memory to map the table', ofLmdb(ENOMEM, 'Cannot allocate memory'), '(ENOMEM). Free memory'],
  [
    'a table that cannot grow',
    ofLmdb(-30792, 'MDB_MAP_FULL: Environment mapsize limit reached'),
    'its table of facts cannot grow (MDB_MAP_FULL). Make room there',
  ],
])('%s is the trouble of the store, with its reason and cure', async (_name, thrown, said) => {
  expect(await answerTo(thrown)).toEqual({
    status: 507,
    error: expect.stringContaining(said) as unknown,
    failed: 1,
  })
})

it('what else LMDB reports is no trouble of the disk, and keeps its name', async () => {
  const thrown = ofLmdb(-30791, 'MDB_DBS_FULL: Environment maxdbs limit reached')
  await expect(answerTo(thrown)).rejects.toMatchObject({ code: 'MDB_DBS_FULL' })
})
