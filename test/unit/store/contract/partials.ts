// What every store promises of its partials.

import { describe, expect, it, onTestFinished } from 'vitest'
import type { SinkModule } from '../../../../src/origin/threads/sink.ts'
import { BLOCK_BYTES } from '../../../../src/store/partials/blocks.ts'
import { patternBytes, sha256Key } from '../scratch.ts'
import { BYTES, contentOf, KEY, landed, type MakeStore, opened, outcomeOf, SMALL } from './under-test.ts'

const forever = new AbortController().signal

export function testPartials(name: string, make: MakeStore): void {
  describe(`${name}, its partials:`, () => {
    it('bytes can be read as soon as they are written, up to the first gap', async () => {
      const store = await opened(make)
      const partial = await store.beginPartial(KEY, BYTES.length)
      expect([partial.map.presentBytes, partial.availableEnd(0)]).toEqual([0, 0])
      await partial.write(BLOCK_BYTES, [BYTES.subarray(BLOCK_BYTES, BLOCK_BYTES + 100)])
      expect(partial.availableEnd(0)).toBe(0)
      expect(partial.availableEnd(BLOCK_BYTES)).toBe(BLOCK_BYTES + 100)
      expect(partial.resumeAt(1)).toBe(BLOCK_BYTES + 100)
      await partial.write(0, [BYTES.subarray(0, 50), BYTES.subarray(50, BLOCK_BYTES)])
      expect(partial.availableEnd(0)).toBe(BLOCK_BYTES + 100)
      const buffer = Buffer.alloc(BLOCK_BYTES + 100)
      expect(await partial.read(buffer, 0, buffer.length, 0)).toBe(buffer.length)
      expect(buffer.equals(BYTES.subarray(0, buffer.length))).toBe(true)
      await partial.release()
    })

    it('what another thread writes counts as soon as that is said, and becomes the blob', async () => {
      const store = await opened(make)
      const partial = await store.beginPartial(KEY, BYTES.length)
      const writer = partial.writer({ start: 0, end: BYTES.length })
      if (writer === undefined) {
        await partial.release()
        return
      }
      const module = (await import(writer.sink.module)) as SinkModule
      const sink = module.openSink(writer.sink.data)
      expect(sink.write(BYTES.subarray(0, BLOCK_BYTES + 1), 0)).toBe(BLOCK_BYTES + 1)
      expect(partial.availableEnd(0)).toBe(0)
      partial.landed(0, BLOCK_BYTES + 1)
      expect(partial.availableEnd(0)).toBe(BLOCK_BYTES + 1)
      expect(store.status().sizeBytes).toBe(BLOCK_BYTES)
      expect(writer.limit(BLOCK_BYTES + 10)).toBe(BLOCK_BYTES + 10)
      expect(sink.write(BYTES.subarray(BLOCK_BYTES + 1), BLOCK_BYTES + 1)).toBe(9)
      partial.landed(BLOCK_BYTES + 1, 9)
      expect(partial.resumeAt(1)).toBe(BLOCK_BYTES + 10)
      await partial.write(BLOCK_BYTES + 10, [BYTES.subarray(BLOCK_BYTES + 10)])
      await partial.commit()
      await partial.release()
      expect((await contentOf(store, KEY, BYTES.length))?.equals(BYTES)).toBe(true)
    })

    it('a reader waits for its byte, for the error of the partial, or for its own signal', async () => {
      const store = await opened(make)
      const partial = await store.beginPartial(KEY, BYTES.length)
      const comes = partial.whenAvailable(5, forever)
      const never = outcomeOf(partial.whenAvailable(BLOCK_BYTES, forever))
      const own = new AbortController()
      const left = outcomeOf(partial.whenAvailable(BLOCK_BYTES, own.signal))
      await partial.write(0, [BYTES.subarray(0, 6)])
      await comes
      own.abort(new Error('the client left'))
      expect(await left).toBe('the client left')
      partial.fail(new Error('the origin went away'))
      expect(await never).toBe('the origin went away')
      expect(await outcomeOf(partial.whenAvailable(BLOCK_BYTES, forever))).toBe('the origin went away')
      await partial.whenAvailable(5, forever)
      await partial.release()
    })

    it.each([
      ['small', SMALL],
      ['large', BYTES],
      ['very large', patternBytes(3 * 1024 * 1024)],
    ])('the digest of a %s file says whether it is the one of its key', async (_, bytes) => {
      const store = await opened(make)
      for (const key of [sha256Key(bytes), sha256Key(Buffer.from('another'))]) {
        const partial = await store.beginPartial(key, bytes.length)
        const digest = partial.digest()
        const half = Math.floor(bytes.length / 2)
        await partial.write(0, [bytes.subarray(0, half)])
        digest.advance(half)
        await partial.write(half, [bytes.subarray(half)])
        digest.advance(bytes.length)
        expect(await digest.matches).toBe(key === sha256Key(bytes))
        digest.close()
        await partial.discard(new Error('over'), { quarantine: false })
        await partial.release()
      }
    })

    it.each([
      ['small', SMALL],
      ['large', BYTES],
    ])(
      'readers of a %s one read on after its commit, until the last of them has released it',
      async (_, bytes) => {
        const store = await opened(make)
        const partial = await landed(store, bytes)
        partial.retain()
        await partial.commit()
        await partial.release()
        const buffer = Buffer.alloc(bytes.length)
        expect(await partial.read(buffer, 0, buffer.length, 0)).toBe(buffer.length)
        expect(buffer.equals(bytes)).toBe(true)
        await partial.release()
      },
    )

    it.each<['keep' | 'release']>([['keep'], ['release']])(
      'what has landed is resumed after %s, in this process and the next',
      async (end) => {
        const place = await make()
        const first = await place.open()
        const partial = await first.beginPartial(KEY, BYTES.length)
        await partial.write(BLOCK_BYTES, [BYTES.subarray(BLOCK_BYTES, 2 * BLOCK_BYTES)])
        if (end === 'keep') await partial.keep()
        await partial.release()
        const again = await first.beginPartial(KEY, BYTES.length)
        expect([again.map.has(0), again.map.has(1)]).toEqual([false, true])
        await again.write(0, [BYTES.subarray(0, BLOCK_BYTES)])
        await again.release()
        await first.close()
        const store = await place.open()
        onTestFinished(() => store.close())
        const last = await store.beginPartial(KEY, BYTES.length)
        expect(last.map.presentBytes).toBe(2 * BLOCK_BYTES)
        await last.write(2 * BLOCK_BYTES, [BYTES.subarray(2 * BLOCK_BYTES)])
        await last.commit()
        await last.release()
        expect((await contentOf(store, KEY, BYTES.length))?.equals(BYTES)).toBe(true)
      },
    )

    it('one that was begun with another size is not resumed', async () => {
      const store = await opened(make)
      await (await landed(store, BYTES)).release()
      const other = await store.beginPartial(KEY, BYTES.length + 1)
      expect(other.map.presentBytes).toBe(0)
      await other.release()
    })

    it.each([true, false])('one that is discarded is not resumed (quarantine: %s)', async (quarantine) => {
      const store = await opened(make)
      const partial = await store.beginPartial(KEY, BYTES.length)
      await partial.write(0, [BYTES.subarray(0, BLOCK_BYTES)])
      await partial.checkpoint()
      const waiting = outcomeOf(partial.whenAvailable(BLOCK_BYTES, forever))
      await partial.discard(new Error('wrong bytes'), { quarantine })
      expect(await waiting).toBe('wrong bytes')
      await partial.release()
      const next = await store.beginPartial(KEY, BYTES.length)
      expect(next.map.presentBytes).toBe(0)
      await next.release()
    })

    it('one that has ended leaves the next one of its key alone', async () => {
      const store = await opened(make)
      const old = await landed(store, BYTES)
      await old.keep()
      const next = await store.beginPartial(KEY, BYTES.length)
      await old.discard(new Error('too late'), { quarantine: false })
      await old.release()
      await next.commit()
      await next.release()
      expect((await contentOf(store, KEY, BYTES.length))?.equals(BYTES)).toBe(true)
    })
  })
}
