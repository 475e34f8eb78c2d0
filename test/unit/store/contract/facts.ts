// What every store promises of its facts.

import { describe, expect, it, onTestFinished } from 'vitest'
import type { Facts } from '../../../../src/store/store.ts'
import { BYTES, type MakeStore, opened } from './under-test.ts'

export function testFacts(name: string, make: MakeStore): void {
  describe(`${name}, its facts:`, () => {
    it('a value is there as soon as it is written, until it is removed', async () => {
      const { facts } = await opened(make)
      expect(await facts.read('refs', 'main')).toBeUndefined()
      expect(facts.peek('refs', 'main')).toBeUndefined()
      const written = facts.write('refs', 'main', { commit: 'c0ffee' })
      expect(facts.peek('refs', 'main')).toEqual({ commit: 'c0ffee' })
      expect(await facts.read('refs', 'main')).toEqual({ commit: 'c0ffee' })
      expect(await facts.read('files', 'main'), 'another kind').toBeUndefined()
      await written
      await facts.remove('refs', 'main')
      expect(await facts.read('refs', 'main')).toBeUndefined()
      await facts.remove('refs', 'main')
    })

    it('the last change of a fact stays, also after a restart', async () => {
      const place = await make()
      const before = await place.open()
      for (let round = 0; round < 10; round += 1) {
        void before.facts.write('repos', 'kept', { round })
        void before.facts.write('repos', 'gone', { round })
        void before.facts.remove('repos', 'gone')
      }
      await before.close()
      const store = await place.open()
      onTestFinished(() => store.close())
      expect(await store.facts.read('repos', 'kept')).toEqual({ round: 9 })
      expect(await store.facts.read('repos', 'gone')).toBeUndefined()
    })

    it('a body of bytes comes back as the same bytes', async () => {
      const place = await make()
      const before = await place.open()
      await before.facts.write('documents', 'tree', { status: 200, body: BYTES })
      await before.close()
      const store = await place.open()
      onTestFinished(() => store.close())
      const value = (await store.facts.read('documents', 'tree')) as { status: number; body: Buffer }
      expect([value.status, value.body.equals(BYTES)]).toEqual([200, true])
    })

    it('all values of a small kind are listed, those that have just changed as well', async () => {
      const place = await make()
      const listed = async (facts: Facts) => {
        const found = new Map<string, unknown>()
        for await (const { key, value } of facts.list('repos')) found.set(key, value)
        return [...found.keys()].toSorted().map((key) => [key, found.get(key)])
      }
      const before = await place.open()
      expect(await listed(before.facts)).toEqual([])
      // More than are read at once.
      const names = Array.from({ length: 2_100 }, (_, index) => `org/name-${String(index).padStart(4, '0')}`)
      await Promise.all(names.map((name) => before.facts.write('repos', name, { name })))
      await before.facts.write('refs', 'main', { commit: 'c0ffee' })
      const all = names.map((name) => [name, { name }])
      expect(await listed(before.facts)).toEqual(all)
      void before.facts.remove('repos', 'org/name-0000')
      void before.facts.write('repos', 'org/name-0001', { name: 'another' })
      const changed = [['org/name-0001', { name: 'another' }], ...all.slice(2)]
      expect(await listed(before.facts)).toEqual(changed)
      await before.close()
      const store = await place.open()
      onTestFinished(() => store.close())
      expect(await listed(store.facts)).toEqual(changed)
    })

    it('the keys of a kind that begin with a text are listed, those that have just changed as well', async () => {
      const place = await make()
      const keysOf = async (facts: Facts, prefix: string) => {
        const found = new Set<string>()
        for await (const key of facts.keys('documents', prefix)) found.add(key)
        return [...found].toSorted()
      }
      const before = await place.open()
      const odd = 'one "quoted" \\ überraschung'
      await before.facts.write('documents', odd, { body: BYTES })
      await before.facts.write('refs', 'one ref', { commit: 'c0ffee' })
      // More than are read at once.
      const names = Array.from({ length: 1_100 }, (_, index) => `${index % 2 === 0 ? 'one' : 'two'} ${index}`)
      await Promise.all(names.map((name) => before.facts.write('documents', name, { status: 200 })))
      const ones = [odd, ...names.filter((name) => name.startsWith('one'))].toSorted()
      expect(await keysOf(before.facts, 'one ')).toEqual(ones)
      expect(await keysOf(before.facts, 'one "quoted" ')).toEqual([odd])
      void before.facts.remove('documents', odd)
      void before.facts.write('documents', 'one more', { status: 200 })
      const changed = [...ones.filter((name) => name !== odd), 'one more'].toSorted()
      expect(await keysOf(before.facts, 'one')).toEqual(changed)
      await before.close()
      const store = await place.open()
      onTestFinished(() => store.close())
      expect(await keysOf(store.facts, 'one')).toEqual(changed)
    })

    it('what they take is counted', async () => {
      const store = await opened(make)
      await store.facts.write('refs', 'main', { commit: 'c0ffee' })
      const { factBytes, sizeBytes, blobs } = store.status()
      expect(factBytes).toBeGreaterThan(0)
      expect([sizeBytes, blobs]).toEqual([factBytes, 0])
      await store.facts.remove('refs', 'main')
      expect(store.status().sizeBytes).toBe(0)
    })
  })
}
