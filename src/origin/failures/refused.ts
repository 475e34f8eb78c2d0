// A refusal of the Hub in the middle of a transfer that several readers may wait for.

import { isPage } from '../../http/headers.ts'
import { type Refusal, readRefusal } from '../../hub/refusal.ts'
import type { OriginAnswer } from '../client.ts'
import { readBounded } from '../read-body.ts'
import { foreignAnswer, foreignHead } from './bad-answer.ts'
import { originFailure } from './unreachable.ts'

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

/** Reads a refusal of the Hub or of a CDN. Throws MirrorError for an answer that comes from neither, and for one that breaks off. */
export async function readRefusedByHub(answer: OriginAnswer, host: string): Promise<RefusedByHub> {
  const body = await readBounded(answer, MAX_REFUSAL_BYTES).catch((error: unknown) => {
    throw originFailure(error, { host }, host)
  })
  const refusal = readRefusal(answer.status, answer.headers, body ?? Buffer.alloc(0))
  const foreign = foreignAnswer({ ...answer, host }, refusal)
  if (foreign !== undefined) throw foreign
  return new RefusedByHub(refusal)
}

/**
 * The error for an answer that something before a host of files has sent in its place; undefined for the host's own. A page of a rate
 * limit becomes RefusedByHub, and its body is read. The caller must give up the body of any other.
 */
export async function foreignToStorage(answer: OriginAnswer, host: string): Promise<Error | undefined> {
  if (answer.status === 429 && isPage(answer.headers)) return readRefusedByHub(answer, host)
  return foreignHead({ ...answer, host }, false)
}
