// Keeps a lent token out of the responses to its caller.

import { MirrorError } from '../../errors.ts'
import type { Ctx } from '../../mirror/context.ts'

/**
 * Passes `body` on, and throws origin_bad_answer before a lent credential would reach the caller. Some Git LFS servers
 * return the Authorization field that they received, for the next requests of the client.
 */
export async function* withoutCredential(
  body: AsyncIterable<Buffer>,
  { authorization = '' }: Ctx,
): AsyncGenerator<Buffer, void, undefined> {
  const [scheme = '', credential = ''] = authorization.split(' ')
  const pair = scheme === 'Basic' ? Buffer.from(credential, 'base64').toString() : ''
  const secrets = [credential, pair.slice(pair.indexOf(':') + 1)].filter((secret) => secret !== '')
  // Bytes that may be the start of a secret are kept back until more has arrived.
  const keep = Math.max(...secrets.map((secret) => secret.length)) - 1
  let held = Buffer.alloc(0)
  for await (const chunk of body) {
    const seen = Buffer.concat([held, chunk])
    if (secrets.some((secret) => seen.includes(secret)))
      throw new MirrorError('origin_bad_answer', { detail: { reason: 'the answer contains the credential' } })
    const ready = Math.max(0, seen.length - keep)
    held = seen.subarray(ready)
    if (ready > 0) yield seen.subarray(0, ready)
  }
  if (held.length > 0) yield held
}
