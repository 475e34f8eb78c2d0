// Bodies of answers to questions of the mirror's own: read as a whole within a bound, or given up.

import type { OriginAnswer } from './client.ts'

/**
 * Reads the whole body. Returns undefined when it is longer than `maxBytes`; its connection is closed then. Rejects when the
 * body breaks off.
 */
export async function readBounded(
  { body }: Pick<OriginAnswer, 'body'>,
  maxBytes: number,
): Promise<Buffer | undefined> {
  const parts: Buffer[] = []
  let size = 0
  for await (const part of body) {
    const chunk = part as Buffer
    size += chunk.length
    // To leave the loop destroys the body.
    if (size > maxBytes) return undefined
    parts.push(chunk)
  }
  return Buffer.concat(parts, size)
}

/** Gives up a body that will not be read, and closes its connection. Errors of the body are ignored from then on. */
export function discard({ body }: Pick<OriginAnswer, 'body'>): void {
  body.on('error', () => undefined)
  body.destroy()
}
