import { chmod, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { makeDirectory } from '../../../src/store/atomic.ts'
import { scratchDirectory } from './scratch.ts'

it('makeDirectory makes the missing parents with mode 0700, and returns the uppermost', async () => {
  const root = await scratchDirectory()
  const deep = join(root, 'a', 'b', 'c')
  expect(await makeDirectory(deep)).toBe(join(root, 'a'))
  expect((await stat(join(root, 'a'))).mode & 0o777).toBe(0o700)
  expect(await makeDirectory(join(root, 'a', 'b', 'x'))).toBe(join(root, 'a', 'b', 'x'))
  await chmod(deep, 0o755)
  expect(await makeDirectory(deep)).toBeUndefined()
  expect((await stat(deep)).mode & 0o777, 'what is there stays as it is').toBe(0o755)
})

it('makeDirectory accepts a link to a directory, and concurrent calls for the same one succeed', async () => {
  const root = await scratchDirectory()
  await makeDirectory(join(root, 'real'))
  await symlink('real', join(root, 'link'))
  expect(await makeDirectory(join(root, 'link'))).toBeUndefined()
  await Promise.all(Array.from({ length: 20 }, () => makeDirectory(join(root, 'x', 'y', 'z'))))
  expect((await stat(join(root, 'x', 'y', 'z'))).isDirectory()).toBe(true)
})

it.each([
  ['a file in its place', (root: string) => join(root, 'file'), 'EEXIST'],
  ['a file above it', (root: string) => join(root, 'file', 'a', 'b'), 'ENOTDIR'],
  ['a place where nobody may make any', () => '/proc/hubmirror/a', 'ENOENT'],
])('makeDirectory rejects with the error of the system at %s', async (_what, where, code) => {
  const root = await scratchDirectory()
  await writeFile(join(root, 'file'), '')
  await expect(makeDirectory(where(root))).rejects.toMatchObject({ code })
})
