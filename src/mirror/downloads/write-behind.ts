// Writes a stream of chunks, and collects what arrives while a write is running: few large writes when the origin is fast,
// every byte at once when it is slow. Knows neither origin nor disk.

/** With more than this waiting for the disk, the origin has to wait. */
const MAX_PENDING_BYTES = 2 * 1024 * 1024

/**
 * A number in the stream says that as many bytes were written elsewhere, at the place where the next chunk would go.
 *
 * Ends when the stream ends or `limit` is reached (it may move down meanwhile). Rejects with what the stream or a write
 * threw. When it resolves or rejects, no write is running.
 */
export async function writeBehind(
  stream: AsyncIterable<Buffer | number>,
  options: {
    readonly start: number
    readonly limit: () => number
    readonly write: (position: number, chunks: readonly Buffer[], length: number) => Promise<void>
    readonly written: (position: number, length: number) => void
  },
): Promise<void> {
  const wanted = options.limit()
  let position = options.start
  let accepted = options.start
  let pending: Buffer[] = []
  let writing: Promise<void> | undefined
  let failure: { readonly error: unknown } | undefined

  const drain = async (): Promise<void> => {
    try {
      while (accepted > position) {
        const chunks = pending
        const length = accepted - position
        pending = []
        await options.write(position, chunks, length)
        position += length
      }
    } catch (error) {
      failure = { error }
    }
    writing = undefined
  }

  try {
    for await (const chunk of stream) {
      // Before the chunk is taken: bytes behind a gap that a failed write left must not be written.
      if (failure !== undefined) break
      if (typeof chunk === 'number') {
        // What came before it is counted first.
        await writing
        if (failure !== undefined) break
        options.written(accepted, chunk)
        accepted += chunk
        position = accepted
        if (options.limit() < wanted && accepted >= options.limit()) break
        continue
      }
      const room = options.limit() - accepted
      if (room <= 0) break
      const bytes = chunk.length > room ? chunk.subarray(0, room) : chunk
      pending.push(bytes)
      accepted += bytes.length
      writing ??= drain()
      if (accepted - position >= MAX_PENDING_BYTES) await writing
      // At the end of the requested range the stream ends by itself, which leaves its connection open for the next request.
      if (options.limit() < wanted && accepted >= options.limit()) break
    }
  } finally {
    await writing
  }
  if (failure !== undefined) throw failure.error
}
