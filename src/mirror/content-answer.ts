// A content and the conditions of a request → an answer with status, range and outcome.

import { MirrorError } from '../errors.ts'
import { type ByteRange, formatContentRange, formatUnsatisfied } from '../http/range.ts'
import { type Conditions, select } from '../http/select.ts'
import type { Outcome } from '../telemetry/observer.ts'
import type { Answer, Reusable } from './answer.ts'
import type { Content, Contents, Opened } from './content.ts'
import type { Ctx } from './context.ts'

/** A content as it is announced to a client. */
export interface Representation {
  readonly content: Content
  /** Bare, strong. */
  readonly etag: string
  /** All header fields but those that depend on the range. */
  readonly headers: Readonly<Record<string, string>>
  /** How the facts of the content were obtained. Decides the outcome unless the bytes come from the origin. */
  readonly outcome: Extract<Outcome, 'hit' | 'revalidated' | 'stale' | 'miss'>
  /** Present when every caller may get the same answer. */
  readonly reusable?: Reusable | undefined
}

/** The answer to HEAD. Opens no body, here or at the origin. */
export function headAnswer(representation: Representation, conditions: Conditions): Answer {
  const { content, etag, headers, outcome, reusable } = representation
  const { sizeBytes } = content
  if (select('HEAD', conditions, { etag, sizeBytes }).kind === 'not-modified')
    return { status: 304, headers, outcome, body: { kind: 'none' } }
  const length = { 'content-length': String(sizeBytes) }
  return { status: 200, headers: { ...headers, ...length }, outcome, body: { kind: 'none' }, reusable }
}

/**
 * The answer to GET. The body is opened, and nothing of it taken. The sender must close it. Throws range_not_satisfiable, and
 * as `Contents.open` does.
 */
export async function getAnswer(
  ctx: Ctx,
  representation: Representation,
  conditions: Conditions,
  contents: Contents,
): Promise<Answer> {
  const { content, etag } = representation
  const { sizeBytes } = content
  const headers: Record<string, string> = { ...representation.headers }
  const selected = select('GET', conditions, { etag, sizeBytes })
  if (selected.kind === 'not-modified') {
    return { status: 304, headers, outcome: representation.outcome, body: { kind: 'none' } }
  }
  if (selected.kind === 'unsatisfiable') {
    throw new MirrorError('range_not_satisfiable', {
      detail: { contentRange: formatUnsatisfied(sizeBytes) },
    })
  }
  const range = selected.kind === 'range' ? selected.range : { start: 0, end: sizeBytes }
  headers['content-length'] = String(range.end - range.start)
  if (selected.kind === 'range') headers['content-range'] = formatContentRange(range, sizeBytes)
  const whole = completesFile(range, sizeBytes, conditions.range)
  const { body, from } = await contents.open(ctx, content, { range, whole })
  const outcome = outcomeOf(from, representation.outcome)
  const again = representation.reusable && contents.reuse(body, content)
  return {
    status: selected.kind === 'range' ? 206 : 200,
    headers,
    outcome,
    body,
    reusable: again && representation.reusable && { ...representation.reusable, ...again },
  }
}

function outcomeOf(from: Opened['from'], known: Representation['outcome']): Outcome {
  switch (from) {
    case 'empty':
      return known
    case 'stored':
      return known === 'miss' ? 'revalidated' : known
    case 'started':
      return 'miss'
    case 'resumed':
      return 'partial-hit'
    case 'joined':
      return 'coalesced'
    case 'straight':
      return 'bypass'
    default:
      return from satisfies never
  }
}

/** A range to the open end is the rest of a download. It completes a file, so it is verified like a whole one. */
function completesFile(range: ByteRange, sizeBytes: number, header: string | undefined): boolean {
  if (range.start === 0 && range.end === sizeBytes) return true
  return range.end === sizeBytes && /^\s*bytes\s*=\s*\d+\s*-\s*$/i.test(header ?? '')
}
