// When several streams read the same part of a file, it is read from disk once. The buffer is shared by reference count
// and kept briefly for streams that follow closely. The total is bounded, so stalled clients hold no more than that.

import type { ByteSource } from '../../mirror/answer.ts'
import type { ReadBuffers } from './read-buffers.ts'

/**
 * Size of a piece. Large enough that the thread-pool round trip of a read is small beside it. Small enough that a
 * thousand writes of it leave time for other requests, and that many streams at different positions find room.
 */
const PIECE_BYTES = 256 * 1024
/** Budget for all pieces together, in use or kept. */
const BUDGET_BYTES = 32 * 1024 * 1024

/** Bytes of a shared buffer. The holder must call `release` once, and say whether the bytes have been sent. */
export interface BufferLease {
  readonly bytes: Buffer
  readonly release: (how: { readonly sent: boolean }) => void
}

/** A stream that reads a file: its position, which grows, and its end. */
export interface Reader {
  readonly position: number
  readonly end: number
}

/** The bytes from `position` on. All before `end` are available. */
export interface Span {
  readonly position: number
  readonly end: number
}

interface Piece {
  readonly file: SharedFile
  readonly block: number
  readonly start: number
  /** The end of what is being read; moved back if the read returns less. */
  end: number
  readonly buffer: Buffer
  readonly filled: Promise<number>
  leases: number
  /** A write of it failed. The kernel may still refer to the buffer, so it is never reused. */
  isTainted: boolean
}

interface SharedFile {
  readonly readers: Set<Reader>
  /** The latest piece of each block, by block number. */
  readonly pieces: Map<number, Piece>
}

export class SharedReads {
  readonly #buffers: ReadBuffers
  readonly #pieceBytes: number
  readonly #budgetBytes: number
  readonly #files = new Map<object, SharedFile>()
  // Pieces without a lease, in the order of their release.
  readonly #idle = new Set<Piece>()
  #heldBytes = 0

  constructor(
    buffers: ReadBuffers,
    { pieceBytes, budgetBytes } = { pieceBytes: PIECE_BYTES, budgetBytes: BUDGET_BYTES },
  ) {
    this.#buffers = buffers
    this.#pieceBytes = pieceBytes
    this.#budgetBytes = budgetBytes
  }

  /** Registers a reader of `source`. The returned function removes it again. */
  register(source: ByteSource, reader: Reader): () => void {
    const file = fileOf(source)
    const shared = this.#files.get(file) ?? { readers: new Set(), pieces: new Map() }
    this.#files.set(file, shared)
    shared.readers.add(reader)
    return () => {
      shared.readers.delete(reader)
      if (shared.readers.size > 0) return
      this.#files.delete(file)
      for (const piece of shared.pieces.values()) if (piece.leases === 0) this.#drop(piece)
    }
  }

  /**
   * Leases bytes of `source` from `position` on, at most up to `end` and to the end of the piece. Returns undefined
   * when the reader must read by itself: it is the only one of its file, there are so few streams that large buffers of
   * their own are better, the budget is used up, or the read of the piece came short.
   */
  read(source: ByteSource, range: Span): Promise<BufferLease | undefined> | undefined {
    const shared = this.#files.get(fileOf(source))
    if (shared === undefined) return undefined
    const { position, end } = range
    const block = Math.floor(position / this.#pieceBytes)
    const known = shared.pieces.get(block)
    if (known !== undefined && known.start <= position && position < known.end)
      return this.#lend(known, range)
    if (shared.readers.size < 2 || this.#buffers.areFew) return undefined
    // The known piece was read before more was available, or starts further on.
    if (known !== undefined) this.#replace(known)
    if (!this.#makeSpace()) return undefined
    const buffer = this.#buffers.acquire(this.#pieceBytes)
    this.#heldBytes += this.#pieceBytes
    const pieceEnd = Math.min(end, (block + 1) * this.#pieceBytes)
    const piece: Piece = {
      file: shared,
      block,
      start: position,
      end: pieceEnd,
      buffer,
      filled: source.read(buffer, 0, pieceEnd - position, position),
      leases: 0,
      isTainted: false,
    }
    shared.pieces.set(block, piece)
    return this.#lend(piece, range)
  }

  async #lend(piece: Piece, { position, end }: Span): Promise<BufferLease | undefined> {
    piece.leases += 1
    this.#idle.delete(piece)
    try {
      piece.end = piece.start + (await piece.filled)
      if (position >= piece.end) {
        this.#release(piece, true)
        return undefined
      }
      // The piece may reach further than this reader may read.
      const bytes = piece.buffer.subarray(position - piece.start, Math.min(piece.end, end) - piece.start)
      return { bytes, release: ({ sent }) => this.#release(piece, sent) }
    } catch (error) {
      // The next reader must try again.
      this.#replace(piece)
      this.#release(piece, true)
      throw error
    }
  }

  #release(piece: Piece, isSent: boolean): void {
    piece.leases -= 1
    piece.isTainted ||= !isSent
    if (piece.leases > 0) return
    if (piece.file.pieces.get(piece.block) === piece && this.#isWanted(piece)) this.#idle.add(piece)
    else this.#drop(piece)
  }

  /** Makes room for another piece of the same block. Readers with a lease keep theirs. */
  #replace(piece: Piece): void {
    if (piece.leases === 0) this.#drop(piece)
    else if (piece.file.pieces.get(piece.block) === piece) piece.file.pieces.delete(piece.block)
  }

  /** Whether a reader behind it will ask for it before it must make room for others. */
  #isWanted(piece: Piece): boolean {
    for (const { position, end } of piece.file.readers) {
      const isBehind = position < piece.end && end > piece.start
      if (isBehind && position > piece.start - this.#budgetBytes) return true
    }
    return false
  }

  #makeSpace(): boolean {
    if (this.#heldBytes + this.#pieceBytes <= this.#budgetBytes) return true
    const [oldest] = this.#idle
    if (oldest === undefined) return false
    this.#drop(oldest)
    return true
  }

  #drop(piece: Piece): void {
    this.#idle.delete(piece)
    if (piece.file.pieces.get(piece.block) === piece) piece.file.pieces.delete(piece.block)
    this.#heldBytes -= this.#pieceBytes
    if (!piece.isTainted) this.#buffers.release(piece.buffer)
  }
}

/** A source that names no file shares with no other. */
function fileOf(source: ByteSource): object {
  return source.file ?? source
}
