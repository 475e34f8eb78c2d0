// Stores bytes that an operator brings from elsewhere. They become a blob when all of them have come and their digest is
// right. In every other case they are removed.

import type { BlobKey } from '../../store/digest.ts'
import { BLOCK_BYTES } from '../../store/partials/blocks.ts'
import type { PartialBlob, Store } from '../../store/store.ts'

/** Space is reserved this far ahead of what has come. */
const RESERVE_BYTES = 16 * 1024 * 1024
/** Bytes are written in pieces of this size. */
const WRITE_BYTES = 4 * BLOCK_BYTES

export interface BroughtBytes {
  readonly key: BlobKey
  readonly sizeBytes: number
  readonly chunks: AsyncIterable<Buffer>
}

/** The caller makes sure that no partial of the key is open. Rejects with the error of `chunks`, and of the disk. */
export async function takeBytes(
  store: Pick<Store, 'beginPartial'>,
  { key, sizeBytes, chunks }: BroughtBytes,
): Promise<'stored' | 'wrong' | 'no-space'> {
  const partial = await emptyPartial(store, key, sizeBytes)
  try {
    const outcome = await fill(partial, chunks)
    if (outcome !== 'stored')
      await partial.discard(new Error('the bytes are not stored'), { quarantine: false })
    return outcome
  } catch (error) {
    await partial.discard(error, { quarantine: false }).catch(() => undefined)
    throw error
  } finally {
    await partial.release()
  }
}

/** What an earlier download has left is not trusted to be the beginning of these bytes. */
async function emptyPartial(
  store: Pick<Store, 'beginPartial'>,
  key: BlobKey,
  sizeBytes: number,
): Promise<PartialBlob> {
  const partial = await store.beginPartial(key, sizeBytes)
  if (partial.map.presentBytes === 0) return partial
  try {
    await partial.discard(new Error('the bytes come from elsewhere'), { quarantine: false })
  } finally {
    await partial.release()
  }
  return store.beginPartial(key, sizeBytes)
}

async function fill(
  partial: PartialBlob,
  chunks: AsyncIterable<Buffer>,
): Promise<'stored' | 'wrong' | 'no-space'> {
  const digest = partial.digest()
  try {
    let position = 0
    let reservedEnd = 0
    for await (const pieces of together(chunks)) {
      const length = pieces.reduce((sum, piece) => sum + piece.length, 0)
      if (position + length > partial.sizeBytes) return 'wrong'
      if (position + length > reservedEnd) {
        const range = {
          start: reservedEnd,
          end: Math.min(partial.sizeBytes, position + length + RESERVE_BYTES),
        }
        if (!(await partial.reserve(range))) return 'no-space'
        reservedEnd = range.end
      }
      await partial.write(position, pieces)
      position += length
      digest.advance(position)
    }
    if (position !== partial.sizeBytes || !(await digest.matches)) return 'wrong'
    await partial.commit()
    return 'stored'
  } finally {
    digest.close()
  }
}

/** Small chunks together. */
async function* together(chunks: AsyncIterable<Buffer>): AsyncGenerator<readonly Buffer[], void, undefined> {
  let pieces: Buffer[] = []
  let length = 0
  for await (const chunk of chunks) {
    pieces.push(chunk)
    length += chunk.length
    if (length < WRITE_BYTES) continue
    yield pieces
    pieces = []
    length = 0
  }
  if (length > 0) yield pieces
}
