// Parts of a file, and files that the client may have already: RFC 9110 §13 and §14, as clients use them.

import { describe, expect, it } from 'vitest'
import { lfs } from '../hub-simulator/repos.ts'
import { TOKENS } from '../support/mirror-world.ts'
import { openScene } from '../support/scene.ts'

describe('a range', () => {
  const size = 1_000_000
  const open = async () => {
    const scene = await openScene()
    scene.world
      .model('acme/ranged')
      .commit({ 'w.bin': lfs({ sizeBytes: size, seed: 9 }), 's.txt': '0123456789' })
    return scene
  }

  it.each([
    { range: 'bytes=0-0', start: 0, end: 1 },
    { range: 'bytes=100-1109', start: 100, end: 1110 },
    { range: 'bytes=65530-131100', start: 65_530, end: 131_101 },
    { range: 'bytes=-7', start: size - 7, end: size },
    { range: `bytes=-${size * 2}`, start: 0, end: size },
    { range: 'bytes=999990-', start: 999_990, end: size },
    { range: 'bytes=0-', start: 0, end: size },
    { range: `bytes=999990-${size + 100}`, start: 999_990, end: size },
  ])('$range is answered with exactly its bytes, cold and warm', async ({ range, start, end }) => {
    const scene = await open()
    const target = '/acme/ranged/resolve/main/w.bin'
    const bytes = scene.bytes('acme/ranged', 'w.bin')
    const check = async () => {
      const got = await scene.ask(target, { headers: { range } })
      expect(got.status).toBe(206)
      expect(got.headers['content-range']).toBe(`bytes ${start}-${end - 1}/${size}`)
      expect(got.headers['content-length']).toBe(String(end - start))
      expect(got.headers['x-linked-size']).toBe(String(size))
      expect(got.body.equals(bytes.subarray(start, end))).toBe(true)
    }
    await check()
    expect((await scene.ask(target)).body.equals(bytes)).toBe(true)
    scene.hub.ledger.clear()
    await check()
    expect(scene.hub.ledger.requests(), 'warm, a range asks nobody').toEqual([])
  })

  it.each(['bytes=abc', 'bytes=5-2', 'items=0-5', 'bytes=', 'bytes=0-1,4-5', 'bytes=0-0,-1'])(
    '%s that is malformed, or one of several, is ignored',
    async (range) => {
      const scene = await open()
      const got = await scene.ask('/acme/ranged/resolve/main/s.txt', { headers: { range } })
      expect([got.status, got.body.toString(), got.headers['content-range']]).toEqual([
        200,
        '0123456789',
        undefined,
      ])
    },
  )

  it.each(['bytes=10-', 'bytes=10-20', 'bytes=-0'])(
    '%s beyond the end is answered with the length of the file',
    async (range) => {
      const scene = await open()
      const got = await scene.ask('/acme/ranged/resolve/main/s.txt', { headers: { range } })
      expect([got.status, got.headers['content-range'], got.headers['x-error-code']]).toEqual([
        416,
        'bytes */10',
        'RangeNotSatisfiable',
      ])
      expect(scene.hub.ledger.bodyRequests()).toEqual([])
    },
  )

  it('of an empty file is never satisfiable, and the whole file has no bytes', async () => {
    const scene = await open()
    const target = '/acme/open/resolve/main/empty.txt'
    const ranged = await scene.ask(target, { headers: { range: 'bytes=0-0' } })
    expect([ranged.status, ranged.headers['content-range']]).toEqual([416, 'bytes */0'])
    const whole = await scene.ask(target)
    expect([whole.status, whole.headers['content-length'], whole.body.length]).toEqual([200, '0', 0])
  })

  it('of a HEAD is ignored, since a HEAD is about the file', async () => {
    const scene = await open()
    const head = await scene.ask('/acme/ranged/resolve/main/w.bin', {
      method: 'HEAD',
      headers: { range: 'bytes=0-0' },
    })
    expect([head.status, head.headers['content-length']]).toEqual([200, String(size)])
  })

  it('of a private file is streamed exactly', async () => {
    const scene = await open()
    const bytes = scene.bytes('acme/secret', 'w.bin')
    const got = await scene.ask('/acme/secret/resolve/main/w.bin', {
      token: TOKENS.alice,
      headers: { range: 'bytes=1000-1999' },
    })
    expect([got.status, got.headers['content-range']]).toEqual([206, `bytes 1000-1999/${bytes.length}`])
    expect(got.body.equals(bytes.subarray(1000, 2000))).toBe(true)
    expect(scene.hub.ledger.bytes('cdn')).toBe(1000)
  })
})

describe('a condition', () => {
  const target = '/acme/open/resolve/main/config.json'

  it('that the client has the file already is answered without a body', async () => {
    const scene = await openScene()
    const { headers } = await scene.ask(target, { method: 'HEAD' })
    const etag = headers['etag'] ?? ''
    for (const value of [etag, `W/${etag}`, `"other", ${etag}`, '*']) {
      for (const method of ['GET', 'HEAD']) {
        const got = await scene.ask(target, { method, headers: { 'if-none-match': value } })
        expect([value, got.status, got.body.length]).toEqual([value, 304, 0])
        expect(got.headers['etag']).toBe(etag)
        expect(got.headers['x-repo-commit']).toBe(scene.commit('acme/open'))
      }
    }
    expect(scene.hub.ledger.bodyRequests()).toEqual([])
    expect((await scene.ask(target, { headers: { 'if-none-match': '"other"' } })).status).toBe(200)
  })

  it('on a range is answered with the range only while the file is the same', async () => {
    const scene = await openScene()
    const { headers } = await scene.ask(target, { method: 'HEAD' })
    const bytes = scene.bytes('acme/open', 'config.json')
    const same = await scene.ask(target, {
      headers: { range: 'bytes=2-5', 'if-range': headers['etag'] ?? '' },
    })
    expect([same.status, same.body.toString()]).toEqual([206, bytes.subarray(2, 6).toString()])
    const weak = `W/${headers['etag']}`
    for (const value of ['"other"', weak, 'Wed, 21 Oct 2015 07:28:00 GMT']) {
      const other = await scene.ask(target, { headers: { range: 'bytes=2-5', 'if-range': value } })
      expect([other.status, other.body.length]).toEqual([200, bytes.length])
    }
  })
})
