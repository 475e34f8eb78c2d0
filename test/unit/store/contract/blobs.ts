// What every store promises of its blobs.

import { createHash } from 'node:crypto'
import { describe, expect, it, onTestFinished } from 'vitest'
import { BLOCK_BYTES } from '../../../../src/store/partials/blocks.ts'
import { sha256Key } from '../scratch.ts'
import {
  BYTES,
  contentOf,
  KEY,
  landed,
  type MakeStore,
  openBlob,
  opened,
  readWhole,
  SMALL,
  stored,
} from './under-test.ts'

export function testBlobs(name: string, make: MakeStore): void {
  describe(`${name}, its blobs:`, () => {
    it.each([
      ['small', SMALL],
      ['large', BYTES],
    ])('a %s blob is absent before its commit, and whole after it', async (_, bytes) => {
      const store = await opened(make)
      const key = sha256Key(bytes)
      expect(await store.blobs.open(key, bytes.length)).toBeUndefined()
      const partial = await landed(store, bytes)
      expect(await store.blobs.open(key, bytes.length)).toBeUndefined()
      await partial.commit()
      await partial.release()
      expect((await contentOf(store, key, bytes.length))?.equals(bytes)).toBe(true)
    })

    it('a git object and a name that is no digest are blobs like a sha256', async () => {
      const store = await opened(make)
      const git = createHash('sha1').update(`blob ${SMALL.length}\0`).update(SMALL).digest('hex')
      for (const key of [`gitsha1:${git}`, `opaque:${'0'.repeat(64)}`] as const) {
        await stored(store, SMALL, key)
        expect((await contentOf(store, key, SMALL.length))?.equals(SMALL)).toBe(true)
      }
    })

    it('a read gives the bytes of its position, and fewer only at the end', async () => {
      const store = await opened(make)
      await stored(store, BYTES)
      const blob = await openBlob(store, KEY, BYTES.length)
      const buffer = Buffer.alloc(100, 0)
      expect(await blob.read(buffer, 20, 30, BLOCK_BYTES - 10)).toBe(30)
      expect(buffer.subarray(20, 50).equals(BYTES.subarray(BLOCK_BYTES - 10, BLOCK_BYTES + 20))).toBe(true)
      expect([buffer[19], buffer[50]]).toEqual([0, 0])
      expect(await blob.read(buffer, 0, 100, BYTES.length - 7)).toBe(7)
      expect(await blob.read(buffer, 0, 100, BYTES.length)).toBe(0)
      await blob.close()
    })

    it('a blob of another size is not the one that was asked for', async () => {
      const store = await opened(make)
      await stored(store, BYTES)
      expect(await store.blobs.open(KEY, BYTES.length - 1)).toBeUndefined()
    })

    it('an open blob can be opened again without waiting, and shares its reads', async () => {
      const store = await opened(make)
      expect(store.blobs.openCached(KEY, BYTES.length)).toBeUndefined()
      await stored(store, BYTES)
      const first = await openBlob(store, KEY, BYTES.length)
      const again = store.blobs.openCached(KEY, BYTES.length)
      expect(again?.file).toBe(first.file)
      await first.close()
      expect(again && (await readWhole(again)).equals(BYTES)).toBe(true)
      await again?.close()
    })

    it('a range has the bytes of its place, for every reader, and is in memory only while the blob is', async () => {
      const store = await opened(make)
      const range = { start: BLOCK_BYTES - 10, end: BLOCK_BYTES + 20 }
      const wanted = BYTES.subarray(range.start, range.end)
      expect(store.blobs.cachedRange(KEY, BYTES.length, range)).toBeUndefined()
      await stored(store, BYTES)
      const blob = await openBlob(store, KEY, BYTES.length)
      for (const _ of [1, 2]) expect((await blob.readRange(range))?.equals(wanted)).toBe(true)
      expect(store.blobs.cachedRange(KEY, BYTES.length, range)?.equals(wanted)).toBe(true)
      expect(store.blobs.cachedRange(KEY, BYTES.length + 1, range)).toBeUndefined()
      await store.blobs.remove(KEY)
      expect(store.blobs.cachedRange(KEY, BYTES.length, range)).toBeUndefined()
      expect((await blob.readRange(range))?.equals(wanted)).toBe(true)
      await blob.close()
      await stored(store, BYTES)
      const again = await openBlob(store, KEY, BYTES.length)
      expect((await again.readRange(range))?.equals(wanted)).toBe(true)
      await again.close()
    })

    it('the bytes of a small blob are in memory after it was opened, those of a large one are not', async () => {
      const store = await opened(make)
      await stored(store, SMALL)
      await stored(store, BYTES)
      for (const bytes of [SMALL, BYTES])
        await (await openBlob(store, sha256Key(bytes), bytes.length)).close()
      expect(store.blobs.cachedBytes(sha256Key(SMALL), SMALL.length)?.equals(SMALL)).toBe(true)
      expect(store.blobs.cachedBytes(sha256Key(SMALL), SMALL.length + 1)).toBeUndefined()
      expect(store.blobs.cachedBytes(KEY, BYTES.length)).toBeUndefined()
    })

    it.each([
      ['small', SMALL],
      ['large', BYTES],
    ])('a %s blob that is removed is absent, and a reader that has it open reads on', async (_, bytes) => {
      const store = await opened(make)
      const key = sha256Key(bytes)
      await stored(store, bytes)
      const blob = await openBlob(store, key, bytes.length)
      await store.blobs.remove(key)
      await store.blobs.remove(key)
      expect(await store.blobs.open(key, bytes.length)).toBeUndefined()
      expect(store.blobs.openCached(key, bytes.length)).toBeUndefined()
      expect(store.blobs.cachedBytes(key, bytes.length)).toBeUndefined()
      expect((await readWhole(blob)).equals(bytes)).toBe(true)
      await blob.close()
      await blob.close()
      expect(store.status()).toMatchObject({ sizeBytes: 0, blobs: 0 })
    })

    it('a blob is there after the store was closed and opened again', async () => {
      const place = await make()
      const before = await place.open()
      await stored(before, BYTES)
      await before.close()
      const store = await place.open()
      onTestFinished(() => store.close())
      expect((await contentOf(store, KEY, BYTES.length))?.equals(BYTES)).toBe(true)
    })
  })
}
