// What every store promises of its accounts.

import { describe, expect, it, onTestFinished } from 'vitest'
import type { BlobKey } from '../../../../src/store/digest.ts'
import { BLOCK_BYTES } from '../../../../src/store/partials/blocks.ts'
import type { PartialBlob } from '../../../../src/store/store.ts'
import { patternBytes, sha256Key } from '../scratch.ts'
import {
  BYTES,
  contentOf,
  KEY,
  landed,
  type MakeStore,
  openBlob,
  opened,
  SMALL,
  stored,
} from './under-test.ts'

const WHOLE = { start: 0, end: BYTES.length }

export function testAccounts(name: string, make: MakeStore): void {
  describe(`${name}, its accounts:`, () => {
    it('count what has landed, then the blob, and after a restart both', async () => {
      const place = await make()
      const first = await place.open()
      await first.scanned
      const partial = await first.beginPartial(KEY, BYTES.length)
      expect(first.status()).toMatchObject({ sizeBytes: 0, blobs: 1, reservedBytes: 0, factBytes: 0 })
      await partial.write(0, [BYTES.subarray(0, BLOCK_BYTES)])
      expect(first.status()).toMatchObject({ sizeBytes: BLOCK_BYTES, blobs: 1 })
      await partial.write(BLOCK_BYTES, [BYTES.subarray(BLOCK_BYTES)])
      await partial.commit()
      expect(first.status()).toMatchObject({ sizeBytes: BYTES.length, blobs: 1 })
      await partial.release()
      const half = await first.beginPartial(sha256Key(SMALL), BYTES.length)
      await half.write(0, [BYTES.subarray(0, BLOCK_BYTES)])
      await half.release()
      const before = first.status()
      expect(before).toMatchObject({ sizeBytes: BYTES.length + BLOCK_BYTES, blobs: 2 })
      await first.close()
      const store = await place.open()
      onTestFinished(() => store.close())
      await store.scanned
      expect(store.status()).toEqual(before)
    })

    it('have nothing of a partial that is discarded', async () => {
      const store = await opened(make)
      const partial = await landed(store, BYTES)
      await partial.discard(new Error('wrong bytes'), { quarantine: false })
      await partial.release()
      expect(store.status()).toMatchObject({ sizeBytes: 0, blobs: 0 })
    })

    it('promise the same bytes once, however many ask for them', async () => {
      const store = await opened(make, { maxBytes: BYTES.length })
      const partial = await store.beginPartial(KEY, BYTES.length)
      const asking = [{ start: 0, end: 10 }, WHOLE, { start: 5, end: BYTES.length }, WHOLE]
      expect(await Promise.all(asking.map((range) => partial.reserve(range)))).toEqual([
        true,
        true,
        true,
        true,
      ])
      expect(store.status().reservedBytes).toBe(BYTES.length)
      await partial.write(0, [BYTES.subarray(0, BLOCK_BYTES + 100)])
      expect(store.status()).toMatchObject({
        sizeBytes: BLOCK_BYTES,
        reservedBytes: BYTES.length - BLOCK_BYTES - 100,
      })
      expect(await partial.reserve(WHOLE)).toBe(true)
      expect(store.status().reservedBytes).toBe(BYTES.length - BLOCK_BYTES - 100)
      await partial.release()
    })

    it.each<[string, (partial: PartialBlob) => Promise<void>]>([
      ['is committed', (partial) => partial.commit()],
      ['is kept', (partial) => partial.keep()],
      ['is discarded', (partial) => partial.discard(new Error('over'), { quarantine: false })],
      ['is released', (partial) => partial.retain().release()],
    ])('promise nothing any more once the partial %s', async (_, end) => {
      const store = await opened(make)
      const partial = await store.beginPartial(KEY, BYTES.length)
      expect(await partial.reserve(WHOLE)).toBe(true)
      const late = partial.reserve(WHOLE)
      await partial.write(0, [BYTES.subarray(0, BLOCK_BYTES)])
      await end(partial)
      await late
      await partial.release()
      expect(store.status().reservedBytes).toBe(0)
      await partial.reserve(WHOLE)
      expect(store.status().reservedBytes).toBe(0)
    })

    it('refuse room beyond the limit, and give it again once it is there', async () => {
      const store = await opened(make, { maxBytes: BYTES.length + 100 })
      const first = await store.beginPartial(KEY, BYTES.length)
      expect(await first.reserve(WHOLE)).toBe(true)
      const second = await store.beginPartial(sha256Key(SMALL), SMALL.length)
      expect(await second.reserve({ start: 0, end: SMALL.length })).toBe(false)
      await first.discard(new Error('over'), { quarantine: false })
      await first.release()
      expect(await second.reserve({ start: 0, end: SMALL.length })).toBe(true)
      await second.release()
    })

    it('make room by the blob that was used longest ago', async () => {
      const blobs = [1, 2, 3].map((seed) => patternBytes(BLOCK_BYTES, seed))
      const [first, second] = blobs.map((bytes) => sha256Key(bytes)) as [BlobKey, BlobKey, BlobKey]
      const store = await opened(make, { maxBytes: 4 * BLOCK_BYTES })
      for (const bytes of blobs) await stored(store, bytes)
      await (await openBlob(store, first, BLOCK_BYTES)).close()
      const partial = await store.beginPartial(KEY, 2 * BLOCK_BYTES)
      expect(await partial.reserve({ start: 0, end: 2 * BLOCK_BYTES })).toBe(true)
      expect(await store.blobs.open(second, BLOCK_BYTES)).toBeUndefined()
      expect(await contentOf(store, first, BLOCK_BYTES)).toBeDefined()
      await partial.release()
    })

    it('keep an open blob and an open partial, and let them go afterwards', async () => {
      const store = await opened(make, { maxBytes: 2 * BLOCK_BYTES })
      const bytes = patternBytes(BLOCK_BYTES, 9)
      await stored(store, bytes)
      const blob = await openBlob(store, sha256Key(bytes), BLOCK_BYTES)
      const half = await store.beginPartial(KEY, BYTES.length)
      await half.write(0, [BYTES.subarray(0, BLOCK_BYTES)])
      const next = await store.beginPartial(sha256Key(SMALL), 2 * BLOCK_BYTES)
      const all = { start: 0, end: 2 * BLOCK_BYTES }
      expect(await next.reserve(all)).toBe(false)
      await half.release()
      await blob.close()
      expect(await next.reserve(all)).toBe(true)
      expect(store.status()).toMatchObject({ sizeBytes: 0, reservedBytes: 2 * BLOCK_BYTES })
      await next.release()
    })

    it('say that there is no limit, or which', async () => {
      expect((await opened(make)).status().limitBytes).toBeUndefined()
      expect((await opened(make, { maxBytes: 123_456 })).status().limitBytes).toBe(123_456)
    })
  })
}
