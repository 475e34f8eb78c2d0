// The messages between the main thread and the threads that receive bodies.

import type { HeaderBag } from '../../http/headers.ts'
import type { Floor } from '../connections/pace.ts'
import type { SinkTarget } from './sink.ts'

/** What is written at once: long enough that a write costs little beside its bytes, and short enough for the caches of a core. */
export const PIECE_BYTES = 256 * 1024
/** More text than any refusal needs. */
export const MAX_SHORT_BYTES = 64 * 1024

/** The code of the failure of a body that ended before all wanted bytes had come. */
export const SHORT_BODY = 'SHORT_BODY'

export interface BodyLimits {
  readonly connectMs: number
  /** How long the peer may take until its head, and how long it may be silent within the body. */
  readonly silenceMs: number
  /** How slow the body may be. */
  readonly floor: Floor
}

export type BodyRequest =
  | {
      readonly kind: 'fetch'
      readonly id: number
      readonly origin: string
      /** The request as it is sent. */
      readonly head: string
      readonly limits: BodyLimits
    }
  /** Where the body goes. It comes once, after `head`. */
  | ({ readonly kind: 'write'; readonly id: number } & SinkTarget)
  /** The body is not wanted any more. The reply is `ended`, whatever has become of the body. */
  | { readonly kind: 'end'; readonly id: number }

export type BodyReply =
  /** The answer has bytes. They are not read before the main thread has said where they go. */
  | { readonly kind: 'head'; readonly id: number; readonly status: number; readonly headers: HeaderBag }
  /** The answer is another one, and short: it has come as a whole. */
  | {
      readonly kind: 'short'
      readonly id: number
      readonly status: number
      readonly headers: HeaderBag
      readonly bytes: Uint8Array
    }
  /** How many more bytes are in the sink, by body. One message for all bodies: each wakes the main thread. */
  | { readonly kind: 'written'; readonly bytes: readonly (readonly [id: number, bytes: number])[] }
  /** All that the sink wants is there. Nothing more is written. */
  | { readonly kind: 'done'; readonly id: number }
  /** The reply to `end`: nothing more is written. */
  | { readonly kind: 'ended'; readonly id: number }
  /** The answer is one that only a complete parser of HTTP should read. */
  | { readonly kind: 'unusual'; readonly id: number }
  /** Nothing more is written. */
  | { readonly kind: 'failed'; readonly id: number; readonly code: string; readonly message: string }
  /** The sink cannot take the bytes. Nothing more is written. */
  | { readonly kind: 'sink-failed'; readonly id: number; readonly error: ErrorFields }

/** An error of the system without its class: a message to another thread would lose all but the text. */
export interface ErrorFields {
  readonly message: string
  readonly code?: unknown
  readonly errno?: unknown
  readonly syscall?: unknown
}
