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
  const open = (key: BlobKey = KEY) => files.open(key, BYTES.length, { file: fileOf(key) })
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

it('readers share one open file, which is closed soon after the last release', async () => {
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

it('a file is cached for a fixed time, however often it is used', async () => {
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

it('an invalidated file stays open for its readers, and is given to no other', async () => {
  const { files, opened, openNames } = await scene()
  const reader = await opened()
  files.invalidate(KEY)
  expect(files.get(KEY, BYTES.length)).toBeUndefined()
  expect(await textOf(reader)).toBe(BYTES.toString())
  await reader.release()
  expect(await openNames()).toEqual([])
})

it('a file that was invalidated while it was being opened is not cached', async () => {
  const { files, open, openNames } = await scene()
  const opening = open()
  files.invalidate(KEY)
  const file = await opening
  expect(files.get(KEY, BYTES.length)).toBeUndefined()
  await (file as OpenFile).release()
  expect(await openNames()).toEqual([])
})

it('a file that was opened is found, and only by its size', async () => {
  const { files, opened } = await scene()
  await (await opened()).release()
  expect(files.peek(KEY, BYTES.length)?.sizeBytes).toBe(BYTES.length)
  expect(files.get(KEY, BYTES.length + 1)).toBeUndefined()
  expect(files.peek(KEY, BYTES.length + 1)).toBeUndefined()
})

it('a file that is missing or damaged is reported, and not left open', async () => {
  const { open, file, openNames } = await scene()
  await writeFile(file, 'short')
  expect(await open()).toBe('damaged')
  await rename(file, `${file}.away`)
  expect(await open()).toBe('missing')
  expect(await openNames()).toEqual([])
})

it('few files are cached, however many are read', async () => {
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
