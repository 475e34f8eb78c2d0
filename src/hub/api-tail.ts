// The part of an API target behind `/api/{type}/`: where the repo id ends, and which answer is requested. Ids of one
// segment are legal, so words decide, not the number of segments. This file does not know how ids or revisions are
// checked.

/** Documents about one repo. */
export type TailDocument =
  | 'repo'
  | 'revision'
  | 'tree'
  | 'paths-info'
  | 'refs'
  | 'commits'
  | 'treesize'
  | 'parquet'
  | 'croissant'
  | 'safetensors-metadata'

interface TailParts {
  /** The word of the route, `undefined` for the repo itself. */
  readonly word: string | undefined
  /** Decoded; slashes belong to it. */
  readonly revision: string | undefined
  readonly path: string | undefined
}

/** The kind of answer; `other` is every answer that is not kept. */
export type ApiTail =
  | (TailParts & { readonly kind: 'document'; readonly document: TailDocument })
  | (TailParts & { readonly kind: 'xet-token'; readonly write: boolean })
  | { readonly kind: 'other' }

// Known words whose answers are not kept: per caller, writes, or of no use to a mirror. They are listed so that
// `gpt2/auth-check` is not taken for a repo of that name.
const OTHER_WORDS = new Set(
  [
    'auth-check settings preupload commit branch tag super-squash lfs-files compare scan notebook jwt',
    'leaderboard discussions duplicate ask-access user-access-request like likers secrets',
    'variables restart pause sleeptime hardware storage logs events resource-group security-status',
  ].flatMap((line) => line.split(' ')),
)

/**
 * Splits decoded segments into id and tail. Where one and two segments both make an id with a known tail, the id of two segments wins: it is
 * the one that exists, and reading it as an old one-segment id would let the rights of one repo answer for another. An unknown
 * tail is taken to follow two.
 */
export function readApiTail(parts: readonly string[]): {
  readonly idParts: readonly string[]
  readonly tail: ApiTail
} {
  if (parts.length === 2) {
    const tail = readTail(parts.slice(1))
    if (tail !== undefined) return { idParts: parts.slice(0, 1), tail }
  }
  for (const length of [2, 1]) {
    const tail = parts.length >= length ? readTail(parts.slice(length)) : undefined
    if (tail !== undefined) return { idParts: parts.slice(0, length), tail }
  }
  return { idParts: parts.slice(0, 2), tail: { kind: 'other' } }
}

function readTail(parts: readonly string[]): ApiTail | undefined {
  const [word, ...rest] = parts
  switch (word) {
    case undefined:
      return { kind: 'document', document: 'repo', word, revision: undefined, path: undefined }
    case 'refs':
      if (rest.length > 0) return undefined
      return { kind: 'document', document: word, word, revision: undefined, path: undefined }
    case 'revision':
    case 'commits':
    case 'paths-info': {
      const { revision, path } = takeRevision(rest)
      if (revision === undefined || path !== undefined) return undefined
      return { kind: 'document', document: word, word, revision, path }
    }
    case 'tree':
    case 'treesize': {
      const { revision, path } = takeRevision(rest)
      return revision === undefined ? undefined : { kind: 'document', document: word, word, revision, path }
    }
    case 'xet-read-token':
    case 'xet-write-token': {
      const { revision, path } = takeRevision(rest)
      if (path !== undefined) return undefined
      return { kind: 'xet-token', write: word === 'xet-write-token', word, revision, path }
    }
    case 'safetensors-metadata': {
      // The headers of all files of an index, on the main branch.
      if (rest.length === 0) return undefined
      return { kind: 'document', document: word, word, revision: undefined, path: rest.join('/') }
    }
    case 'croissant':
    case 'parquet': {
      // Three more segments name a file. A slash within a segment is none between two.
      const isListing = word === 'parquet' && rest.length <= 2 && !rest.some((part) => part.includes('/'))
      if (rest.length > 0 && !isListing) return { kind: 'other' }
      const path = rest.length === 0 ? undefined : rest.join('/')
      return { kind: 'document', document: word, word, revision: undefined, path }
    }
    default:
      return OTHER_WORDS.has(word) ? { kind: 'other' } : undefined
  }
}

/**
 * A revision is one segment. `refs/pr/1` and `refs/convert/parquet` unencoded are understood as well, since
 * huggingface.js lists files so, and no branch can be called `refs`. Python escapes the slashes of the path.
 */
function takeRevision(parts: readonly string[]): {
  readonly revision: string | undefined
  readonly path: string | undefined
} {
  const [first, second, third] = parts
  const isSpread =
    first === 'refs' &&
    third !== undefined &&
    (second === 'convert' || (second === 'pr' && /^\d+$/.test(third)))
  const length = isSpread ? 3 : 1
  if (parts.length <= length) {
    return { revision: first === undefined ? undefined : parts.join('/'), path: undefined }
  }
  return {
    revision: parts.slice(0, length).join('/'),
    path: parts.slice(length).join('/').replace(/\/$/, ''),
  }
}
