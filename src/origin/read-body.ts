// The small bodies of answers to questions of the mirror's own.

import type { OriginAnswer } from './client.ts'

/**
 * The whole body, or undefined where it is longer than `maxBytes`; then its connection is closed. Rejects when the body
 * breaks off.
 */
export async function readBounded(answer: OriginAnswer, maxBytes: number): Promise<Buffer | undefined> {
  const parts: Buffer[] = []
  let size = 0
  for await (const part of answer.body) {
    const chunk = part as Buffer
    size += chunk.length
    // Leaving the loop destroys the body.
    if (size > maxBytes) return undefined
    parts.push(chunk)
  }
  return Buffer.concat(parts)
}

/** Gives a body up that nobody reads. */
export function discard(answer: OriginAnswer): void {
  answer.body.on('error', () => undefined)
  answer.body.destroy()
}
