// Puts the folders that tests make into memory, where the machine has room there: to make and remove thousands of small
// files on a disk takes an eighth of the CPU time of these tests, and most of their waiting. Tests of faults keep the disk.
// Vitest runs this before each file of tests, also where several of them share a process.

import { accessSync, constants, statfsSync } from 'node:fs'
import { expect } from 'vitest'

/** tmpfs on Linux. A container may have little of it. */
const MEMORY = '/dev/shm'
const NEEDED_BYTES = 1024 ** 3

const shared: typeof globalThis & { diskFolder?: string | undefined } = globalThis
if (!('diskFolder' in shared)) shared.diskFolder = process.env['TMPDIR']

if (!isFault() && hasRoom()) process.env['TMPDIR'] = MEMORY
else if (shared.diskFolder === undefined) delete process.env['TMPDIR']
else process.env['TMPDIR'] = shared.diskFolder

function isFault(): boolean {
  return expect.getState().testPath?.includes('/test/faults/') === true
}

function hasRoom(): boolean {
  try {
    accessSync(MEMORY, constants.W_OK)
    const { bavail, bsize } = statfsSync(MEMORY)
    return bavail * bsize >= NEEDED_BYTES
  } catch {
    return false
  }
}
