import { Readable } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { discard, readBounded } from '../../../src/origin/read-body.ts'

function bodyOf(chunks: Iterable<Buffer | Error>) {
  async function* stream(): AsyncGenerator<Buffer> {
    for (const chunk of chunks) {
      if (chunk instanceof Error) throw chunk
      yield await Promise.resolve(chunk)
    }
  }
  const body = Readable.from(stream(), { objectMode: false })
  return Object.assign(body, { dump: () => Promise.resolve() })
}

describe('readBounded', () => {
  it.each([
    [[], 0, ''],
    [['abc'], 3, 'abc'],
    [['a', 'b', 'c'], 3, 'abc'],
    [['a', 'b', 'c'], 4, 'abc'],
  ])('reads %j within %i bytes', async (chunks, maxBytes, text) => {
    const body = bodyOf(chunks.map((chunk) => Buffer.from(chunk)))
    expect((await readBounded({ body }, maxBytes))?.toString()).toBe(text)
  })

  it.each([
    [['abcd'], 3],
    [['abc', 'd'], 3],
    [['a'], 0],
  ])('returns undefined for %j within %i bytes, and ends the body', async (chunks, maxBytes) => {
    const body = bodyOf(chunks.map((chunk) => Buffer.from(chunk)))
    expect(await readBounded({ body }, maxBytes)).toBeUndefined()
    expect(body.destroyed).toBe(true)
  })

  it('reads no more of a body without end than its bound', async () => {
    let sent = 0
    function* endless(): Generator<Buffer> {
      for (;;) {
        sent += 1
        yield Buffer.alloc(1000)
      }
    }
    expect(await readBounded({ body: bodyOf(endless()) }, 100_000)).toBeUndefined()
    expect(sent).toBeLessThan(1000)
  })

  it('rejects where the body breaks off', async () => {
    const body = bodyOf([Buffer.from('a'), new Error('broke off')])
    await expect(readBounded({ body }, 10)).rejects.toThrow('broke off')
  })
})

describe('discard', () => {
  it('ends a body, and ignores its errors', async () => {
    const body = bodyOf([Buffer.from('a'), new Error('broke off')])
    discard({ body })
    expect(body.destroyed).toBe(true)
    body.emit('error', new Error('late'))
    await new Promise((resolve) => setImmediate(resolve))
  })
})
