// When to ask again, as an answer says it (RFC 9110 §10.2.3). It does not read a clock.

/** Milliseconds from `now` (epoch ms) until then, none for a moment that is over. Undefined for what is neither seconds nor a date. */
export function retryAfterMs(text: string, now: number): number | undefined {
  if (/^\d{1,10}$/.test(text)) return Number(text) * 1000
  if (!/^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/.test(text)) return undefined
  const at = Date.parse(text)
  return Number.isNaN(at) ? undefined : Math.max(0, at - now)
}

/** Whether it is a time that clients can read. */
export function isRetryAfter(text: string): boolean {
  return retryAfterMs(text, 0) !== undefined
}
