// The seam between an answer and the process that sends its bytes. This process sends them, unless the bytes are part of
// a stored file and another process takes the file over.

import type { ServerResponse } from 'node:http'
import type { ByteRange } from '../../http/range.ts'
import type { ByteSource } from '../../mirror/answer.ts'

/** A finished and verified blob. It stays in the store while the source that names it is open. */
export type StoredFile = NonNullable<ByteSource['blob']>

/** A process that can read the store and send parts of stored files to clients. */
export interface FileHandoff {
  /**
   * Offers `range` of `file` to the other process, as the body of `answer`. Resolves with undefined when this process must
   * send the bytes itself, for example because the other process does not serve this client. Never rejects. The caller
   * keeps the source of the file open until `result` has settled.
   */
  offer(offer: {
    readonly response: ServerResponse
    /** The head that the client is to get. Names of fields are in lower case. */
    readonly answer: AnswerHead
    readonly file: StoredFile
    readonly range: ByteRange
    /** Aborts when the client has gone. */
    readonly signal: AbortSignal
  }): Promise<Handoff | undefined>
}

export interface AnswerHead {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
}

/** A file that another process sends. */
export interface Handoff {
  /** Header fields (lower case) to set in the head of the answer. Undefined removes a field. */
  readonly fields: Readonly<Record<string, string | undefined>>
  /**
   * What the other process has sent. Rejects with the reason of `signal` when that aborts first. Undefined when the other
   * process reports nothing: then the response ends after its head, and its connection with it.
   */
  readonly result: Promise<HandoffResult> | undefined
}

export interface HandoffResult {
  /** Body bytes that the other process handed to the client's socket. */
  readonly bytes: number
  /** From the moment the other process had read the offer; undefined when it sent nothing. */
  readonly firstByteMs: number | undefined
  /**
   * `sent`: all bytes were sent. `left`: the client has gone. `stopped`: the other process could not read the file to
   * its end, and this process must send what is missing.
   */
  readonly end: 'sent' | 'left' | 'stopped'
}
