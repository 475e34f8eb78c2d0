// Bytes apart from any route: a content needs a key, a size and a source, and no request of the Hub.

import { describe, expect, it, onTestFinished } from 'vitest'
import type { ByteSource } from '../../../src/mirror/answer.ts'
import { type Content, Contents, type Reader } from '../../../src/mirror/content.ts'
import { Downloads } from '../../../src/mirror/downloads/downloads.ts'
import type { OriginClient } from '../../../src/origin/client.ts'
import { silentObserver } from '../../../src/telemetry/observer.ts'
import { open, patternBytes, scratchDirectory, sha256Key } from '../store/scratch.ts'

const BYTES = patternBytes(3 * 256 * 1024 + 17)
const WHOLE = { range: { start: 0, end: BYTES.length }, whole: true }

async function setUp({ offline = false } = {}) {
  const store = await open(await scratchDirectory())
  await store.scanned
  const shared = { store, observer: silentObserver, onStorageFailed: fail }
  const downloads = new Downloads({ ...shared, connections: 1, abandoned: 'stop', onNoSpace: fail })
  onTestFinished(async () => {
    await downloads.close()
    await store.close()
  })
  const client = {
    isWanted: () => false,
    buffers: { reserve: () => undefined },
  } as unknown as OriginClient
  return { contents: new Contents({ ...shared, downloads, client, offline, cachePrivate: false }) }
}

function fail(): never {
  throw new Error('unexpected')
}

/** A content that counts how often a range of it is read at its source. */
function made(change: Partial<Content> = {}) {
  const reads: string[] = []
  const content: Content = {
    key: sha256Key(BYTES),
    sizeBytes: BYTES.length,
    isPublic: Promise.resolve(true),
    mayStore: true,
    source: ({ lane, isShared }) => ({
      ignoresRanges: false,
      async *read({ start, end }) {
        reads.push(`${lane} ${isShared ? 'shared' : 'alone'} ${start}-${end}`)
        await Promise.resolve()
        yield BYTES.subarray(start, end)
      },
    }),
    ...change,
  }
  return { content, reads }
}

function reader(signal = new AbortController().signal): Reader {
  return { caller: { kind: 'anonymous', address: '127.0.0.1' }, signal }
}

async function readAll(source: ByteSource): Promise<Buffer> {
  const { start, end } = source.range
  const bytes = Buffer.alloc(end - start)
  for (let position = start; position < end; ) {
    const until = await source.waitFor(position)
    position += await source.read(bytes, position - start, until - position, position)
  }
  await source.close()
  return bytes
}

async function collect(stream: AsyncIterable<Buffer>): Promise<Buffer> {
  const parts: Buffer[] = []
  for await (const part of stream) parts.push(part)
  return Buffer.concat(parts)
}

describe('a content', () => {
  it('is downloaded once, and then comes from the store', async () => {
    const { contents } = await setUp()
    const { content, reads } = made()
    const first = await contents.open(reader(), content, WHOLE)
    const second = await contents.open(reader(), content, WHOLE)
    expect([first.from, second.from]).toEqual(['started', 'joined'])
    for (const { body } of [first, second]) {
      if (body.kind !== 'source') throw new Error(body.kind)
      expect((await readAll(body.source)).equals(BYTES)).toBe(true)
    }
    expect(await contents.fill(reader(), content)).toBe(true)
    const third = await contents.open(reader(), content, { range: { start: 5, end: 9 }, whole: false })
    expect(third.from).toBe('stored')
    if (third.body.kind !== 'source') throw new Error(third.body.kind)
    expect((await readAll(third.body.source)).equals(BYTES.subarray(5, 9))).toBe(true)
    expect(reads).toEqual([`question shared 0-${BYTES.length}`])
  })

  it('that may not be stored passes straight to its reader, verified', async () => {
    const { contents } = await setUp()
    for (const change of [{ mayStore: false }, { isPublic: Promise.resolve(false) }]) {
      const { content, reads } = made(change)
      const { body, from } = await contents.open(reader(), content, WHOLE)
      expect(from).toBe('straight')
      if (body.kind !== 'stream') throw new Error(body.kind)
      expect((await collect(body.stream)).equals(BYTES)).toBe(true)
      expect(reads).toEqual([`relay alone 0-${BYTES.length}`])
      expect(await contents.isStored(content.key, content.sizeBytes)).toBe(false)
    }
  })

  it('with wrong bytes is neither stored nor passed on as a whole', async () => {
    const { contents } = await setUp()
    const { content } = made({ key: sha256Key(Buffer.from('others')) })
    await expect(contents.fill(reader(), content)).rejects.toMatchObject({ code: 'integrity_mismatch' })
    const { body } = await contents.open(reader(), { ...content, mayStore: false }, WHOLE)
    if (body.kind !== 'stream') throw new Error(body.kind)
    await expect(collect(body.stream)).rejects.toMatchObject({ code: 'integrity_mismatch' })
  })
})

describe('filling the store', () => {
  it('resolves when the bytes are on the disk, and asks once for many callers', async () => {
    const { contents } = await setUp()
    const { content, reads } = made()
    const filled = await Promise.all([1, 2, 3].map(() => contents.fill(reader(), content)))
    expect(filled).toEqual([true, true, true])
    expect(await contents.isStored(content.key, content.sizeBytes)).toBe(true)
    expect(reads).toHaveLength(1)
  })

  it('resolves to false, and reads nothing, where the bytes may not be stored', async () => {
    const { contents } = await setUp()
    for (const change of [
      { mayStore: false },
      { isPublic: Promise.resolve(false) },
      { key: 'opaque:x' as Content['key'] },
    ]) {
      const { content, reads } = made(change)
      expect(await contents.fill(reader(), content)).toBe(false)
      expect(reads).toEqual([])
    }
  })

  it('is refused in offline mode', async () => {
    const { contents } = await setUp({ offline: true })
    const { content, reads } = made()
    await expect(contents.fill(reader(), content)).rejects.toMatchObject({ code: 'offline_and_absent' })
    expect(reads).toEqual([])
  })
})
