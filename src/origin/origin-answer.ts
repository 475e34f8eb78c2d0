import type { Readable } from 'node:stream'
import type { HeaderBag } from '../http/headers.ts'

/** A response of the origin. */
export interface OriginAnswer {
  readonly status: number
  readonly headers: HeaderBag
  /** The decoded body. It must be read to its end or destroyed, else the pool loses the connection. */
  readonly body: Readable & { dump(): Promise<void> }
}
