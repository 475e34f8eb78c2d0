// What a download and a stream need of wherever bytes come from that are not stored. Implemented by origin/files/file-body.ts.

import type { ByteRange } from '../../http/range.ts'
import type { Sink } from '../../origin/threads/sink.ts'

/** The bytes of one content at its origin. Belongs to one download or one stream, and knows no disk. */
export interface RangeSource {
  /**
   * True once the other end has answered a range with the whole: every further range would cost the whole again. It may
   * become true while ranges are being read.
   */
  readonly ignoresRanges: boolean
  /**
   * Yields exactly the bytes of `range`, in order, or throws; a short body is an error, not an end. It retries by itself what
   * is worth retrying. Several ranges may be read at the same time. Aborting `signal`, or returning early, ends the transfer.
   * `hasBegun` says that readers already have bytes of the same content, so that waiting is better than failing.
   */
  read(
    range: ByteRange,
    signal: AbortSignal,
    options?: { readonly hasBegun?: boolean },
  ): AsyncIterable<Buffer>
  /**
   * Does what `read` does, but where it can, another thread writes the bytes to `sink`, each at its position in the content.
   * Then it yields their number in place of the bytes. It ends early if the sink wants no more, and throws SinkFailed if that
   * cannot take them. When it has ended in any way, no thread writes any more.
   */
  transfer?(
    range: ByteRange,
    signal: AbortSignal,
    options: { readonly hasBegun: boolean; readonly sink: Sink },
  ): AsyncIterable<Buffer | number>
}
