// A refusal of the Hub in the middle of a transfer that several readers may wait for.

import { type Refusal, readRefusal } from '../../hub/refusal.ts'
import type { OriginAnswer } from '../client.ts'
import { readBounded } from '../read-body.ts'
import { foreignAnswer } from './bad-answer.ts'

/** More text than any refusal needs. */
const MAX_REFUSAL_BYTES = 64 * 1024

/** The Hub refuses while a body is being downloaded. Its refusal is passed on unchanged. */
export class RefusedByHub extends Error {
  readonly refusal: Refusal

  constructor(refusal: Refusal) {
    super(`the Hub answered ${refusal.status}`)
    this.name = 'RefusedByHub'
    this.refusal = refusal
  }
}

/** Reads a refusal of the Hub or of a CDN. Throws MirrorError for an answer that comes from neither. */
export async function readRefusedByHub(answer: OriginAnswer, host: string): Promise<RefusedByHub> {
  const body = (await readBounded(answer, MAX_REFUSAL_BYTES)) ?? Buffer.alloc(0)
  const refusal = readRefusal(answer.status, answer.headers, body)
  const foreign = foreignAnswer({ ...answer, host }, refusal)
  if (foreign !== undefined) throw foreign
  return new RefusedByHub(refusal)
}
