// What several read of the same file at the same time is read once: the bytes are lent to all who ask for them, and kept
// for those who come close behind. Bounded as a whole, so that clients who stall hold that much and no more.

import type { ByteSource } from '../../mirror/answer.ts'
import type { ReadBuffers } from './read-buffers.ts'

/**
 * Of a piece: enough that a turn of the thread pool is little beside it, so little that a thousand writes of it leave
 * time for other requests between them, and that many who stand apart find room.
 */
const PIECE_BYTES = 256 * 1024
/** Of all pieces together, in use or kept. */
const BUDGET_BYTES = 32 * 1024 * 1024

/** Bytes that are lent. Whoever was given them lets them go once, and says whether they have been sent. */
export interface BufferLease {
  readonly bytes: Buffer
  readonly release: (how: { readonly sent: boolean }) => void
}

/** Somebody who reads a file: from where, which grows, to where. */
export interface Reader {
  readonly position: number
  readonly end: number
}

/** From `position` on; all before `end` is there. */
export interface Span {
  readonly position: number
  readonly end: number
}

interface Piece {
  readonly file: SharedFile
  readonly block: number
  readonly start: number
  /** How far it is read; nearer once the read came short of that. */
  end: number
  readonly buffer: Buffer
  readonly filled: Promise<number>
  leases: number
  /** A write of it failed: the kernel may still hold it, so nothing is ever read into it again. */
  isTainted: boolean
}

interface SharedFile {
  readonly readers: Set<Reader>
  /** By block of their size; of each, what was read last. */
  readonly pieces: Map<number, Piece>
}

export class SharedReads {
  readonly #buffers: ReadBuffers
  readonly #pieceBytes: number
  readonly #budgetBytes: number
  readonly #files = new Map<object, SharedFile>()
  // Nobody holds these; the one that was let go first stands first.
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

  /** Counts a reader of `source` in; the returned function counts it out again. */
  enter(source: ByteSource, reader: Reader): () => void {
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
   * Bytes of `source` from `position` on, of which all before `end` are there: as many as one piece has. Undefined where
   * the reader is to read by itself: nobody else reads the same file, so few read anything that large buffers of their
   * own are better, there is no room, or the piece came short of it.
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
    // Read before there was more of it, or further on.
    if (known !== undefined) this.#replace(known)
    if (!this.#makeRoom()) return undefined
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
      // Others may have more of it than this one.
      const bytes = piece.buffer.subarray(position - piece.start, Math.min(piece.end, end) - piece.start)
      return { bytes, release: ({ sent }) => this.#release(piece, sent) }
    } catch (error) {
      // Whoever comes next is to try again.
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

  /** Another one takes its place; those who hold it read on. */
  #replace(piece: Piece): void {
    if (piece.leases === 0) this.#drop(piece)
    else if (piece.file.pieces.get(piece.block) === piece) piece.file.pieces.delete(piece.block)
  }

  /** Whether somebody is behind it who will ask for it before it has to make room for others. */
  #isWanted(piece: Piece): boolean {
    for (const { position, end } of piece.file.readers) {
      const isBehind = position < piece.end && end > piece.start
      if (isBehind && position > piece.start - this.#budgetBytes) return true
    }
    return false
  }

  #makeRoom(): boolean {
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

/** A source that does not say has a file of its own. */
function fileOf(source: ByteSource): object {
  return source.file ?? source
}
