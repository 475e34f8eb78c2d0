// What is learnt from listings: sizes, bounds, and how long the event loop is kept.

import { describe, expect, it } from 'vitest'
import { contentTypeOf, type ListedFile, ListingReader } from '../../../src/hub/listing.ts'
import { type CommitHash, isCommitHash, parseRepoId, type Repo } from '../../../src/hub/names.ts'
import { CommitListings } from '../../../src/mirror/files/commit-listings.ts'
import { ListingIndex, pack, SEGMENT_FILES } from '../../../src/mirror/files/listing-index.ts'
import { silentObserver } from '../../../src/telemetry/observer.ts'

const OID = 'a1'.repeat(20)
const SHA256 = 'b2'.repeat(32)

function commitOf(digit: string): CommitHash {
  const text = digit.repeat(40)
  if (!isCommitHash(text)) throw new Error('no commit')
  return text
}

function repoOf(name: string): Repo {
  const id = parseRepoId(name)
  if (id === undefined) throw new Error('no repo')
  return { type: 'dataset', id }
}

const REPO = repoOf('acme/many')

function listings() {
  return new CommitListings({
    client: { hasSpareQuota: () => true, url: (target) => new URL(target, 'http://hub.invalid') },
    observer: silentObserver,
    monotonic: () => 0,
    readPage: async () => undefined,
  })
}

/** What is known of a file. */
function fileOf(known: CommitListings, repo: Repo, digit: string, path: string): ListedFile | undefined {
  const index = known.index(repo, commitOf(digit))
  const place = index?.find(path)
  return place && index?.at(place)
}

describe('a listing', () => {
  it('names files of both kinds, and leaves out what has no digest or no size', () => {
    const items = [
      { type: 'directory', oid: OID, size: 0, path: 'sub' },
      { type: 'file', oid: OID, size: 5, path: 'sub/é "quoted" {}.txt' },
      { type: 'file', oid: OID, size: 900, path: 'w.bin', lfs: { oid: SHA256, size: 900, pointerSize: 130 } },
      { type: 'file', oid: OID, size: 1, path: 'two sizes', lfs: { oid: SHA256, size: 2, pointerSize: 130 } },
      { type: 'file', oid: '*'.repeat(40), size: 1, path: 'no digest' },
      { type: 'file', oid: OID, size: -1, path: 'no size' },
      { type: 'file', oid: OID, size: 1.5, path: 'half a byte' },
      { rfilename: 'sibling.json', size: 7, blobId: OID },
      { rfilename: 'sibling.bin', size: 8, blobId: OID, lfs: { sha256: SHA256, size: 8, pointerSize: 130 } },
      { rfilename: 'name only' },
      [[{}]],
    ]
    const reader = new ListingReader(Buffer.from(JSON.stringify(items)))
    const found = []
    for (let files = reader.read(2); files !== undefined; files = reader.read(2)) found.push(...files)
    expect(found).toEqual([
      { path: 'sub/é "quoted" {}.txt', etag: OID, sizeBytes: 5, lfs: false },
      { path: 'w.bin', etag: SHA256, sizeBytes: 900, lfs: true },
      { path: 'sibling.json', etag: OID, sizeBytes: 7, lfs: false },
      { path: 'sibling.bin', etag: SHA256, sizeBytes: 8, lfs: true },
    ])
  })

  it('that is cut, or has an endless item, ends without a file too many', () => {
    const whole = JSON.stringify([{ type: 'file', oid: OID, size: 5, path: 'a' }])
    const cut = new ListingReader(Buffer.from(`${whole.slice(0, -1)},{"path":"b"`))
    expect(cut.read(10)?.map(({ path }) => path)).toEqual(['a'])
    expect(cut.read(10)).toBeUndefined()
    const endless = new ListingReader(Buffer.from(`[{"path":"${'x'.repeat(70_000)}"}]`))
    expect(endless.read(10)).toEqual([])
    expect(endless.read(10)).toBeUndefined()
  })

  it('gives each file back by its path, and only by that', () => {
    const files = Array.from({ length: SEGMENT_FILES }, (_, index) => ({
      path: `data/${index}.json`,
      etag: index % 2 === 0 ? OID : SHA256,
      sizeBytes: index * 2 ** 33,
      lfs: index % 2 === 1,
    }))
    const index = new ListingIndex()
    index.add(pack(files.slice(0, 1000)))
    index.add(pack(files.slice(1000)))
    expect(index.files).toBe(SEGMENT_FILES)
    for (const file of files) {
      const place = index.find(file.path)
      expect(place && index.at(place)).toEqual(file)
      expect(place && index.placeAt(index.orderOf(place))).toEqual(place)
    }
    expect([index.placeAt(0), index.placeAt(1000), index.placeAt(SEGMENT_FILES)]).toEqual([
      { segment: 0, index: 0 },
      { segment: 1, index: 0 },
      undefined,
    ])
    for (const path of ['', 'data/', 'data/1024.json', 'data/1.jso', 'xata/1.json'])
      expect(index.find(path)).toBeUndefined()
    const place = index.find('data/7.json')
    if (place === undefined) throw new Error('not found')
    expect([index.request(place), index.request(place), index.isAnnounced(place)]).toEqual([
      true,
      false,
      false,
    ])
    index.announce(place)
    expect([index.isAnnounced(place), index.at(place)?.lfs]).toEqual([true, true])
  })

  it('of a million files is learnt in small steps, as far as its memory goes', async () => {
    const item = (index: number) =>
      `{"type":"file","oid":"${OID}","size":${index},"path":"data/train/part-${String(index).padStart(7, '0')}.jsonl"}`
    const parts: Buffer[] = []
    for (let start = 0; start < 1_000_000; start += 10_000) {
      const items = Array.from({ length: 10_000 }, (_, index) => item(start + index))
      parts.push(Buffer.from(`${start === 0 ? '[' : ','}${items.join(',')}`))
    }
    const body = Buffer.concat([...parts, Buffer.from(']')])
    const known = listings()
    const before = process.memoryUsage()
    let turns = 0
    let isLearning = true
    const count = (): void => {
      turns += 1
      if (isLearning) setImmediate(count)
    }
    setImmediate(count)
    await known.learn({ repo: REPO, commit: commitOf('1'), name: 'whole' }, body, [0, body.length])
    isLearning = false
    const after = process.memoryUsage()
    // Other work has a turn after each 200 files.
    const learnt = known.index(REPO, commitOf('1'))?.files ?? 0
    expect(learnt).toBeGreaterThan(350_000)
    expect(turns).toBeGreaterThanOrEqual(learnt / 200)
    expect(after.arrayBuffers - before.arrayBuffers).toBeLessThan(40 * 1024 * 1024)
    const first = fileOf(known, REPO, '1', 'data/train/part-0000000.jsonl')
    expect(first).toEqual({
      path: 'data/train/part-0000000.jsonl',
      etag: OID,
      sizeBytes: 0,
      lfs: false,
    })
    expect(fileOf(known, REPO, '1', 'data/train/part-0300000.jsonl')?.sizeBytes).toBe(300_000)
    expect(fileOf(known, REPO, '1', 'data/train/part-0999999.jsonl')).toBeUndefined()
  }, 60_000)

  it('of one commit says nothing of another, and is forgotten for others that are used more', async () => {
    const known = listings()
    const body = Buffer.from(
      `[${Array.from({ length: 20_000 }, (_, index) => `{"type":"file","oid":"${OID}","size":1,"path":"${'p'.repeat(1000)}${index}"}`).join(',')}]`,
    )
    for (const digit of ['1', '2', '3', '4'])
      await known.learn({ repo: REPO, commit: commitOf(digit), name: 'tree' }, body, [0, body.length])
    const isKnown = (repo: Repo, digit: string) =>
      fileOf(known, repo, digit, `${'p'.repeat(1000)}0`) !== undefined
    expect([isKnown(REPO, '4'), isKnown(REPO, '1'), isKnown(REPO, '5')]).toEqual([true, false, false])
    expect(isKnown(repoOf('acme/other'), '4')).toBe(false)
    known.distrust(REPO, commitOf('4'))
    expect(isKnown(REPO, '4')).toBe(false)
    await known.learn({ repo: REPO, commit: commitOf('4'), name: 'tree' }, body, [0, body.length])
    expect(isKnown(REPO, '4'), 'once distrusted, always').toBe(false)
  })
})

it('the type of a file follows from the ending of its name', () => {
  const types = ['a.json', '.gitattributes', 'b/c.PY', 'd.bin', 'README', 'e.'].map(contentTypeOf)
  const text = 'text/plain; charset=utf-8'
  expect(types).toEqual([text, text, text, undefined, undefined, undefined])
})
