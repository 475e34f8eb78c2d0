// The files of one commit in little memory: some 40 bytes a file, and its path. Nothing of it is an object of its
// own, so that a million files cost the garbage collector nothing. Files keep the order of the listing.

import type { ListedFile } from '../../hub/listing.ts'

/** Files of one segment: packed in less than a millisecond, and looked up with one comparison or two. */
export const SEGMENT_FILES = 1024

/** Where a file stands: its segment, and its place there. */
export interface Place {
  readonly segment: number
  readonly index: number
}

const SIZE_BYTES = 6
const HEADER_BYTES = 1 + SIZE_BYTES + 1
/** Bits of the first byte. */
const IS_LFS = 1
const IS_ANNOUNCED = 2
const IS_REQUESTED = 4

const UPPER_HALF = 0xffff0000

/** Up to SEGMENT_FILES files. Each is a record: flags, size, length of the digest, digest, path. */
interface Segment {
  readonly bytes: Buffer
  /** Where each record begins, and behind the last one where it ends. */
  readonly starts: Uint32Array
  /** A hash table: the upper half of the hash, and the place of the file plus one in the lower half; or 0. */
  readonly table: Uint32Array
}

/** Files that were packed and are not in an index yet: a page that fails in its middle leaves nothing behind. */
export type PackedFiles = Segment

/** Packs at most SEGMENT_FILES files. */
export function pack(files: readonly ListedFile[]): PackedFiles {
  const paths = files.map(({ path }) => Buffer.from(path))
  const starts = new Uint32Array(files.length + 1)
  let end = 0
  files.forEach(({ lfs }, index) => {
    starts[index] = end
    end += HEADER_BYTES + (lfs ? 32 : 20) + (paths[index]?.length ?? 0)
  })
  starts[files.length] = end
  const bytes = Buffer.allocUnsafeSlow(end)
  const table = new Uint32Array(2 ** Math.ceil(Math.log2(files.length * 2 + 1)))
  files.forEach(({ lfs, etag, sizeBytes }, index) => {
    const path = paths[index] ?? Buffer.alloc(0)
    const digestBytes = lfs ? 32 : 20
    let at = bytes.writeUInt8(lfs ? IS_LFS : 0, starts[index])
    at = bytes.writeUIntBE(sizeBytes, at, SIZE_BYTES)
    at = bytes.writeUInt8(digestBytes, at)
    at += bytes.write(etag, at, digestBytes, 'hex')
    path.copy(bytes, at)
    const hash = hashOf(path)
    let slot = hash & (table.length - 1)
    while (table[slot] !== 0) slot = (slot + 1) & (table.length - 1)
    table[slot] = ((hash & UPPER_HALF) | (index + 1)) >>> 0
  })
  return { bytes, starts, table }
}

/** The files of a commit, as far as listings have named them. */
export class ListingIndex {
  readonly #segments: Segment[] = []
  // How many files stand before each segment.
  readonly #before: number[] = []
  #bytes = 0
  #files = 0

  /** The bytes of memory that it takes. */
  get bytes(): number {
    return this.#bytes
  }

  /** How many files it names. */
  get files(): number {
    return this.#files
  }

  add(segment: PackedFiles): void {
    this.#segments.push(segment)
    this.#before.push(this.#files)
    this.#files += segment.starts.length - 1
    this.#bytes += segment.bytes.length + segment.starts.byteLength + segment.table.byteLength + 400
  }

  /** Where the file of this path stands; undefined when no listing has named it. */
  find(path: string): Place | undefined {
    const name = Buffer.from(path)
    const hash = hashOf(name)
    for (let segment = 0; segment < this.#segments.length; segment += 1) {
      const found = this.#segments[segment]
      const index = found === undefined ? undefined : indexIn(found, name, hash)
      if (index !== undefined) return { segment, index }
    }
    return undefined
  }

  /** The file at a place. */
  at({ segment, index }: Place): ListedFile | undefined {
    const { bytes, starts } = this.#segments[segment] ?? NO_FILES
    const [start, end] = [starts[index], starts[index + 1]]
    if (start === undefined || end === undefined) return undefined
    const digestStart = start + HEADER_BYTES
    const pathStart = digestStart + bytes.readUInt8(digestStart - 1)
    return {
      path: bytes.toString('utf8', pathStart, end),
      etag: bytes.toString('hex', digestStart, pathStart),
      sizeBytes: bytes.readUIntBE(start + 1, SIZE_BYTES),
      lfs: this.#has({ segment, index }, IS_LFS),
    }
  }

  /** How many files stand before this one in the order of the listing. */
  orderOf({ segment, index }: Place): number {
    return (this.#before[segment] ?? 0) + index
  }

  /** The file that has `order` files before it. */
  placeAt(order: number): Place | undefined {
    const segment = this.#before.findLastIndex((before) => before <= order)
    const index = order - (this.#before[segment] ?? 0)
    return segment === -1 || order >= this.#files ? undefined : { segment, index }
  }

  isRequested(place: Place): boolean {
    return this.#has(place, IS_REQUESTED)
  }

  /** Marks a file as requested. Returns false when it was requested before. */
  request(place: Place): boolean {
    return this.#mark(place, IS_REQUESTED)
  }

  /** Marks a file as one whose facts a client has received by a HEAD alone, before the Hub has confirmed them. */
  announce(place: Place): void {
    this.#mark(place, IS_ANNOUNCED)
  }

  isAnnounced(place: Place): boolean {
    return this.#has(place, IS_ANNOUNCED)
  }

  #has({ segment, index }: Place, flag: number): boolean {
    const { bytes, starts } = this.#segments[segment] ?? NO_FILES
    return ((bytes[starts[index] ?? 0] ?? 0) & flag) !== 0
  }

  #mark(place: Place, flag: number): boolean {
    const { bytes, starts } = this.#segments[place.segment] ?? NO_FILES
    const start = starts[place.index]
    if (start === undefined || this.#has(place, flag)) return false
    bytes[start] = (bytes[start] ?? 0) | flag
    return true
  }
}

const NO_FILES: Segment = { bytes: Buffer.alloc(0), starts: new Uint32Array(0), table: new Uint32Array(1) }

function indexIn({ bytes, starts, table }: Segment, name: Buffer, hash: number): number | undefined {
  for (let slot = hash & (table.length - 1); ; slot = (slot + 1) & (table.length - 1)) {
    const entry = table[slot] ?? 0
    if (entry === 0) return undefined
    // Comparing names costs more than all else.
    if (((entry ^ hash) & UPPER_HALF) !== 0) continue
    const index = (entry & ~UPPER_HALF) - 1
    const start = starts[index] ?? 0
    const end = starts[index + 1] ?? 0
    const pathStart = start + HEADER_BYTES + (bytes[start + HEADER_BYTES - 1] ?? 0)
    if (end - pathStart === name.length && name.compare(bytes, pathStart, end) === 0) return index
  }
}

/** FNV-1a with a last mix. Names that collide on purpose cost a longer walk through one segment each. */
function hashOf(name: Buffer): number {
  let hash = 0x811c9dc5
  for (const byte of name) hash = Math.imul(hash ^ byte, 0x01000193)
  return (hash ^ (hash >>> 15)) >>> 0
}
