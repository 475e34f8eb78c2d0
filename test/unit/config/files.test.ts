import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { readRegularFile } from '../../../src/config/files.ts'

async function fileWith(text: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'hubmirror-files-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  const file = join(folder, 'settings.yaml')
  await writeFile(file, text)
  return file
}

it('reads a settings file whole', async () => {
  expect(readRegularFile(await fileWith('writes: deny\n'))).toBe('writes: deny\n')
})

it.each([
  ['an empty file, which an editor may be writing', '', 'it is empty'],
  ['a file that is too large', 'x'.repeat(1_000_001), 'EFBIG'],
])('refuses %s', async (_, text, code) => {
  const file = await fileWith(text)
  expect(() => readRegularFile(file)).toThrow(expect.objectContaining({ code }) as Error)
})

it('refuses a folder in the place of the file', () => {
  expect(() => readRegularFile(tmpdir())).toThrow('not a regular file')
})
