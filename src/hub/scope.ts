// What a request shows that is passed through without being understood: which repo, and which of its files. This file
// reads more leniently than the route parser (words in any case, escaped slashes as slashes): a target that is read too
// strictly here would escape a rule, and the origin may be more lenient than the mirror.

import { readApiTail } from './api-tail.ts'
import { REPO_TYPES, type RepoType } from './names.ts'

export interface Scope {
  readonly type: RepoType | 'bucket'
  /** As it was written, and perhaps no id that the Hub would give out. */
  readonly id: string
  readonly shows: 'nothing' | 'everything' | ShownFile
}

interface ShownFile {
  /** Undefined for buckets, whose files have no revision. */
  readonly revision: string | undefined
  /** False if escaped slashes leave it open which part is the revision. */
  readonly isClear: boolean
  readonly path: string
  /** False for pages and raw text, which show only the pointer of a large file. */
  readonly whole: boolean
}

const TYPES = new Map<string, Scope['type']>([
  ...REPO_TYPES.map((type) => [`${type}s`, type] as const),
  ['buckets', 'bucket'],
])
/** First segments that are no name of a user or an organization. */
const SITE = new Set('docs front join login logout oauth settings .well-known'.split(' '))
/** API answers about a repo that hold no content of a file. A route that is not listed may hold anything. */
const CONTENTLESS = new Set(
  [
    'auth-check settings preupload commit branch tag super-squash lfs-files treesize scan leaderboard discussions',
    'duplicate ask-access user-access-request like likers secrets variables restart pause sleeptime hardware storage',
    'logs events resource-group security-status xet-write-token',
  ].flatMap((line) => line.split(' ')),
)
const PAGES = new Set(
  [
    'raw blob blame resolve tree commit commits discussions settings ask-access',
    'info git-upload-pack git-receive-pack',
  ].flatMap((line) => line.split(' ')),
)

/** The scope of a target by its decoded parts; undefined when it is about no repo. */
export function scopeOf(parts: readonly string[]): Scope | undefined {
  const segments = parts.join('/').split('/').filter(Boolean)
  const tied = tiedOf(parts)
  const words = segments.map((segment) => segment.toLowerCase())
  switch (words[0]) {
    case undefined:
      return undefined
    case 'api':
      return apiScope(segments.slice(1))
    case 'v2':
      // Ollama's route to the same files.
      return segments.length < 2
        ? undefined
        : { ...named('model', segments.slice(1, 3)), shows: 'everything' }
    default: {
      const type = TYPES.get(words[0])
      if (type !== undefined) return webScope(type, segments.slice(1), tied.slice(1))
      return SITE.has(words[0]) ? undefined : webScope('model', segments, tied)
    }
  }
}

function apiScope(segments: readonly string[]): Scope | undefined {
  const isCache = segments[0]?.toLowerCase() === 'resolve-cache'
  const [first = '', ...rest] = isCache ? segments.slice(1) : segments
  const type = TYPES.get(first.toLowerCase())
  if (type === undefined || rest.length === 0) return undefined
  if (isCache) {
    const length = /^[0-9a-f]{40}$/i.test(rest[1] ?? '') ? 1 : 2
    return { ...named(type, rest.slice(0, length)), shows: 'everything' }
  }
  const { idParts } = readApiTail(rest.map((segment) => segment.toLowerCase()))
  const word = rest[idParts.length]?.toLowerCase()
  const shows = word === undefined || CONTENTLESS.has(word) ? 'nothing' : 'everything'
  return { ...named(type, rest.slice(0, idParts.length)), shows }
}

/** For each segment, whether an escaped slash ties it to the next one. */
function tiedOf(parts: readonly string[]): readonly boolean[] {
  return parts.flatMap((part) => {
    const pieces = part.split('/').filter(Boolean)
    return pieces.map((_, index) => index < pieces.length - 1)
  })
}

function webScope(
  type: Scope['type'],
  segments: readonly string[],
  tied: readonly boolean[],
): Scope | undefined {
  if (segments.length === 0) return undefined
  const words = segments.map((segment) => segment.toLowerCase())
  const length = [2, 1].find((at) => PAGES.has(words[at] ?? '')) ?? Math.min(2, segments.length)
  const page = words[length]
  const tail = segments.slice(length + 1)
  const name = named(type, segments.slice(0, length))
  switch (page) {
    case 'raw':
    case 'blob':
    case 'blame':
    case 'resolve': {
      const whole = page === 'resolve'
      if (type === 'bucket')
        return tail.length === 0
          ? { ...name, shows: 'nothing' }
          : { ...name, shows: { revision: undefined, isClear: true, path: tail.join('/'), whole } }
      if (tail.length < 2) return { ...name, shows: 'nothing' }
      const from = length + 1
      const end = tied.indexOf(false, from) + 1
      const [first = '', ...rest] = tail
      // Slashes of a ref that came unescaped: the origin may read it as one.
      if (first.toLowerCase() === 'refs' && tied[from] !== true) return { ...name, shows: 'everything' }
      const isRef = first.toLowerCase() === 'refs' && end < segments.length && end > from + 2
      if (isRef)
        return {
          ...name,
          shows: {
            revision: segments.slice(from, end).join('/'),
            isClear: true,
            path: segments.slice(end).join('/'),
            whole,
          },
        }
      const isClear = tied[from - 1] !== true && tied[from] !== true
      return { ...name, shows: { revision: first, isClear, path: rest.join('/'), whole } }
    }
    case 'info':
      // A push asks for locks, and shows nothing.
      return { ...name, shows: words[length + 2] === 'locks' ? 'nothing' : 'everything' }
    case 'git-upload-pack':
      return { ...name, shows: 'everything' }
    default:
      return { ...name, shows: 'nothing' }
  }
}

function named(type: Scope['type'], id: readonly string[]): Pick<Scope, 'type' | 'id'> {
  return { type, id: id.join('/').replace(/\.git$/i, '') }
}
