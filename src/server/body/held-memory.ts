// Memory that counts for a caller until its response has closed.

import type { ServerResponse } from 'node:http'
import { MirrorError } from '../../errors.ts'
import type { BodyBuffers } from '../../origin/connections/body-buffers.ts'

/**
 * Returns a function that reserves bytes of `buffers`, which are held until `response` has closed. It throws overloaded, with `reason` for
 * the log, if there are none for the caller, or if the response has closed already.
 */
export function holding(
  response: ServerResponse,
  buffers: BodyBuffers,
  { caller, reason }: { readonly caller: string; readonly reason: string },
): (bytes: number) => void {
  const held: (() => void)[] = []
  response.once('close', () => {
    for (const release of held) release()
  })
  return (bytes) => {
    const release = buffers.reserve(caller, bytes)
    if (release !== undefined && !response.closed) held.push(release)
    else {
      release?.()
      throw new MirrorError('overloaded', { detail: { reason } })
    }
  }
}
