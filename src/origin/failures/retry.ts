// Which requests may be repeated, and when. Pure.

import { isCdnFailure } from '../../hub/refusal.ts'

/** Answers of a server in trouble. 429 is not among them: it is passed on to the caller, and never repeated. */
const RETRYABLE = new Set([408, 500, 502, 503, 504])

export function isRetryableStatus(status: number): boolean {
  return RETRYABLE.has(status) || isCdnFailure(status)
}

/**
 * How long to wait before attempt `attempt` (the first retry is 1): full jitter under a doubling bound, so that
 * many mirrors do not come back in step; a `Retry-After` in seconds is a floor, up to the longest wait.
 */
export function retryDelayMs(attempt: number, random: () => number, retryAfter?: string): number {
  const bound = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (attempt - 1))
  const asked = retryAfter !== undefined && /^\d{1,4}$/.test(retryAfter) ? Number(retryAfter) * 1000 : 0
  return Math.min(LONGEST_WAIT_MS, Math.max(asked, Math.round(random() * bound)))
}

const FIRST_WAIT_MS = 250
// Under the 10 s after which huggingface_hub gives a silent body up.
export const LONGEST_WAIT_MS = 4_000
