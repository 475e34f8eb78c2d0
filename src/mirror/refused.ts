// The Hub's "no" as an answer.

import { type Refusal, refusalHeaders } from '../hub/refusal.ts'
import type { Outcome } from '../telemetry/observer.ts'
import type { Answer } from './answer.ts'

/** Passes the refusal on with its codes; a body is made of its message where the Hub sent none (HEAD has none). */
export function refusalAnswer(
  refusal: Refusal,
  context: {
    readonly anonymous: boolean
    readonly aboutRepo: boolean
    readonly extra?: Readonly<Record<string, string>>
    readonly outcome?: Outcome
  },
): Answer {
  const bytes = refusal.body.length > 0 ? refusal.body : Buffer.from(refusal.message ?? '')
  const headers: Record<string, string> = {
    'content-type': 'text/plain; charset=utf-8',
    ...context.extra,
    ...refusalHeaders(refusal, context),
  }
  headers['content-length'] = String(bytes.length)
  return {
    status: refusal.status,
    headers,
    outcome: context.outcome ?? 'refused',
    originStatus: refusal.status,
    body: { kind: 'bytes', bytes },
  }
}
