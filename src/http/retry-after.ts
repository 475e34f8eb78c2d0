// When to ask again, as an answer says it (RFC 9110 §10.2.3). It does not read a clock.

import { type HeaderBag, headerValue } from './headers.ts'

/** Milliseconds from `now` (epoch ms) until then, none for a moment that is over. Undefined for what is neither seconds nor a date. */
export function retryAfterMs(text: string, now: number): number | undefined {
  if (/^\d{1,10}$/.test(text)) return Number(text) * 1000
  const at = dateOf(text)
  return at === undefined ? undefined : Math.max(0, at - now)
}

/** Whether it is a time that clients can read. */
export function isRetryAfter(text: string): boolean {
  return retryAfterMs(text, 0) !== undefined
}

/**
 * Milliseconds to wait as the Retry-After of an answer says it; undefined where it says nothing that can be read. A date
 * is counted from the answer's own Date (RFC 9110 §6.6.1): both come from one clock, and no other need be right. `now`
 * (epoch ms) stands in where there is no Date.
 */
export function waitMsOf(headers: HeaderBag, now: number): number | undefined {
  const text = headerValue(headers, 'retry-after')?.trim() ?? ''
  return retryAfterMs(text, answeredAt(headers) ?? now)
}

/**
 * When the answer left the one who sent it, by that one's own clock (epoch ms): its Date, and its Age where a cache has
 * kept it (RFC 9111 §4.2.3). Undefined without a readable Date.
 */
export function answeredAt(headers: HeaderBag): number | undefined {
  const at = dateOf(headerValue(headers, 'date') ?? '')
  const age = headerValue(headers, 'age') ?? ''
  return at === undefined ? undefined : at + (/^\d{1,7}$/.test(age) ? Number(age) * 1000 : 0)
}

/** An IMF-fixdate (RFC 9110 §5.6.7), which is the only form that servers may write, in epoch ms. */
function dateOf(text: string): number | undefined {
  if (!/^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/.test(text)) return undefined
  const at = Date.parse(text)
  return Number.isNaN(at) ? undefined : at
}
