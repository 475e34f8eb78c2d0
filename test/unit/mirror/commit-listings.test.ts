// What is learnt from listings, and how files are found again. Large ones are in test/long/further/large-listings.test.ts.

import { describe, expect, it } from 'vitest'
import { contentTypeOf, ListingReader } from '../../../src/hub/listing.ts'
import { ListingIndex, pack, SEGMENT_FILES } from '../../../src/mirror/files/listing-index.ts'

const OID = 'a1'.repeat(20)
const SHA256 = 'b2'.repeat(32)

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
})

it('the type of a file follows from the ending of its name', () => {
  const types = ['a.json', '.gitattributes', 'b/c.PY', 'd.bin', 'README', 'e.'].map(contentTypeOf)
  const text = 'text/plain; charset=utf-8'
  expect(types).toEqual([text, text, text, undefined, undefined, undefined])
})
