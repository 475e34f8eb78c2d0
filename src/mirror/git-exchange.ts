// What one exchange with a client of git is made of: how its question is read, and what its answer carries. Decides nothing.

import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import { MirrorError } from '../errors.ts'
import type { GitProtocol } from '../git/git.ts'
import { GIT_TYPES } from '../hub/git.ts'

export interface GitQuestion {
  /** The field Git-Protocol. */
  readonly protocol: string | undefined
  /** The field Content-Encoding. */
  readonly encoding: string | undefined
  /** Reads the body of a `pack` request. */
  readonly body: () => Promise<Buffer>
}

/** More than the wants and haves of a repo with a hundred thousand commits. */
const MAX_QUESTION_BYTES = 8 * 1024 * 1024

/** The version of the protocol that a client of git asks for. */
export function protocolOf(field: string | undefined): GitProtocol {
  // The field is a list of keys with colons between them.
  const version = /(?:^|:)version=([12])(?:$|:)/.exec(field ?? '')?.[1]
  return version === '1' ? 'version=1' : version === '2' ? 'version=2' : undefined
}

/** The header fields of an answer. */
export function headersOf(kind: keyof typeof GIT_TYPES): Record<string, string> {
  return {
    'content-type': GIT_TYPES[kind],
    'cache-control': 'no-cache, max-age=0, must-revalidate',
    'x-content-type-options': 'nosniff',
  }
}

const gunzipped = promisify(gunzip)

/** The question as git has written it. Throws bad_request or request_too_large. */
export async function bodyOf({ body, encoding }: GitQuestion): Promise<Buffer> {
  const bytes = await body()
  if (encoding === undefined || encoding === 'identity') return bytes
  if (!/^(?:x-)?gzip$/i.test(encoding)) throw new MirrorError('bad_request')
  try {
    return await gunzipped(bytes, { maxOutputLength: MAX_QUESTION_BYTES })
  } catch (error) {
    const isLong = error instanceof Error && 'code' in error && error.code === 'ERR_BUFFER_TOO_LARGE'
    throw new MirrorError(isLong ? 'request_too_large' : 'bad_request', { cause: error })
  }
}

/** The same iteration, but its end calls `close`, also when it ends before it has begun. */
export function closing<T>(
  given: AsyncGenerator<T, void, undefined>,
  close: () => Promise<void>,
): AsyncIterable<T> {
  return {
    [Symbol.asyncIterator]: () => ({
      next: () => given.next(),
      async return() {
        await given.return()
        await close()
        return { done: true, value: undefined }
      },
    }),
  }
}
