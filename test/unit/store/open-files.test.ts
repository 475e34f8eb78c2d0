import { mkdir, rename, stat, unlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { type OpenFile, OpenFiles } from '../../../src/store/blobs/open-files.ts'
import type { BlobKey } from '../../../src/store/digest.ts'
import { eventually } from '../../support/eventually.ts'
import { openFilesBelow } from '../../support/fd.ts'
import { scratchDirectory, sha256Key } from './scratch.ts'

const BYTES = Buffer.from('the bytes of a blob')
const KEY = sha256Key(BYTES)

async function scene() {
  const root = await scratchDirectory()
  const files = new OpenFiles()
  onTestFinished(() => files.close())
  const fileOf = (key: BlobKey) => path.join(root, key.replace(':', '-'))
  await mkdir(root, { recursive: true })
  await writeFile(fileOf(KEY), BYTES)
  const open = (key: BlobKey = KEY, isKept = true) =>
    files.open(key, BYTES.length, { file: fileOf(key), isCached: isKept })
  return {
    files,
    file: fileOf(KEY),
    fileOf,
    open,
    opened: async (key: BlobKey = KEY): Promise<OpenFile> => {
      const file = await open(key)
      if (typeof file === 'string') throw new Error(file)
      return file
    },
    openNames: () => openFilesBelow(root),
    untilClosed: () =>
      eventually(
        () => openFilesBelow(root),
        (open) => open.length === 0,
      ),
  }
}

async function textOf(file: OpenFile | undefined): Promise<string> {
  const buffer = Buffer.alloc(100)
  const length = (await file?.read(buffer, 0, 100, 0)) ?? 0
  return buffer.toString('utf8', 0, length)
}

it('gives the same file to all who want it, and closes it soon after the last one has left', async () => {
  const { files, opened, openNames, untilClosed } = await scene()
  const first = await opened()
  const second = files.get(KEY, BYTES.length)
  expect(second).toBe(first)
  expect(await openNames()).toHaveLength(1)
  await first.release()
  expect(await textOf(second)).toBe(BYTES.toString())
  await second?.release()
  await untilClosed()
  expect(files.get(KEY, BYTES.length)).toBeUndefined()
})

it('keeps it no longer however often it is asked for', async () => {
  const { files, opened, file, untilClosed } = await scene()
  await (await opened()).release()
  await unlink(file)
  await eventually(
    async () => {
      const again = files.get(KEY, BYTES.length)
      await again?.release()
      return again
    },
    (again) => again === undefined,
  )
  await untilClosed()
})

it('leaves it to its readers when it is forgotten, and gives it to nobody else', async () => {
  const { files, opened, openNames } = await scene()
  const reader = await opened()
  files.invalidate(KEY)
  expect(files.get(KEY, BYTES.length)).toBeUndefined()
  expect(await textOf(reader)).toBe(BYTES.toString())
  await reader.release()
  expect(await openNames()).toEqual([])
})

it('does not keep what was forgotten while it was opened', async () => {
  const { files, open, openNames } = await scene()
  const opening = open()
  files.invalidate(KEY)
  const file = await opening
  expect(files.get(KEY, BYTES.length)).toBeUndefined()
  await (file as OpenFile).release()
  expect(await openNames()).toEqual([])
})

it('keeps nothing that it shall not, nor gives a file for one of another size', async () => {
  const { files, open, opened, openNames } = await scene()
  await ((await open(KEY, false)) as OpenFile).release()
  expect(await openNames()).toEqual([])
  await (await opened()).release()
  expect(files.get(KEY, BYTES.length + 1)).toBeUndefined()
})

it('says what is wrong with a file, and has none open then', async () => {
  const { open, file, openNames } = await scene()
  await writeFile(file, 'short')
  expect(await open()).toBe('damaged')
  await rename(file, `${file}.away`)
  expect(await open()).toBe('missing')
  expect(await openNames()).toEqual([])
})

it('keeps a few files, however many are read', async () => {
  const { files, opened, fileOf, openNames } = await scene()
  for (let index = 0; index < 200; index += 1) {
    const key = sha256Key(Buffer.from([index]))
    await writeFile(fileOf(key), BYTES)
    await (await opened(key)).release()
  }
  await eventually(openNames, (names) => names.length <= 64)
  await files.close()
  expect(await openNames()).toEqual([])
  expect((await stat(fileOf(KEY))).size).toBe(BYTES.length)
})
