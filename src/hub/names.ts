// How the Hub names things: repo types, repo ids, commits. Only the parsers here make the branded strings.
// It does not know where in a URL a name stands.

/**
 * The base URLs that the Hub itself writes into its answers, whatever URL it was called by. Without a slash at the end.
 */
export const HUB_URLS = ['https://huggingface.co', 'https://hf.co'] as const

/** The kinds of repo that have files at revisions; buckets have no revisions and are passed through. */
export const REPO_TYPES = ['model', 'dataset', 'space', 'kernel'] as const
export type RepoType = (typeof REPO_TYPES)[number]

declare const repoIdBrand: unique symbol
/** `gpt2` or `org/name`, checked by `parseRepoId`. */
export type RepoId = string & { readonly [repoIdBrand]: true }

declare const commitHashBrand: unique symbol
/** 40 lower-case hex digits, checked by `isCommitHash`. */
export type CommitHash = string & { readonly [commitHashBrand]: true }

/** Types have ids of their own: model `a/b` and dataset `a/b` are two repos. */
export interface Repo {
  readonly type: RepoType
  readonly id: RepoId
}

/** The rule of `parseRepoId` in words, for the answer to a request that breaks it. */
export const REPO_ID_RULE =
  "A repo id is 'name' or 'org/name': letters, digits, '-', '_' and '.', at most 96 characters per part, " +
  "no '--' or '..', no '-' or '.' at either end, no '.git' at the end, and no reserved first part."

const API_SEGMENTS = {
  model: 'models',
  dataset: 'datasets',
  space: 'spaces',
  kernel: 'kernels',
} as const satisfies Record<RepoType, string>

const WEB_PREFIXES = {
  model: '',
  dataset: 'datasets/',
  space: 'spaces/',
  kernel: 'kernels/',
} as const satisfies Record<RepoType, string>

type ApiSegment = (typeof API_SEGMENTS)[RepoType]
type WebPrefix = (typeof WEB_PREFIXES)[RepoType]

// First segments that mean a route. Compared without case, because a router in front of the Hub may do the same.
const RESERVED = new Set(['api', 'datasets', 'spaces', 'kernels', 'buckets', 'v2'])

// Must begin and end with a word character; what lies between may hold '-' and '.'.
const PART = /^[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?$/

/** The id when it is one the Hub could have given out, `undefined` otherwise (see `REPO_ID_RULE`). */
export function parseRepoId(text: string): RepoId | undefined {
  if (text.length > 193 || text.includes('--') || text.includes('..')) return undefined
  const parts = text.split('/')
  if (parts.length > 2 || !parts.every((part) => PART.test(part))) return undefined
  if (RESERVED.has((parts[0] ?? '').toLowerCase()) || text.toLowerCase().endsWith('.git')) return undefined
  return text as RepoId
}

/** Whether the text is a full commit id; anything else (short ids too) is a ref that can move. */
export function isCommitHash(text: string): text is CommitHash {
  return /^[0-9a-f]{40}$/.test(text)
}

/** The plural that stands after `/api/`. */
export function apiSegment(type: RepoType): ApiSegment {
  return API_SEGMENTS[type]
}

/** The inverse of `apiSegment`. */
export function typeOfApiSegment(segment: string): RepoType | undefined {
  return REPO_TYPES.find((type) => API_SEGMENTS[type] === segment)
}

/** The part before the id outside of `/api/`: nothing for models, otherwise the plural and a slash. */
export function webPrefix(type: RepoType): WebPrefix {
  return WEB_PREFIXES[type]
}

/** A stable key for facts and caches: `models/org/name`. Case is kept: the Hub redirects other spellings. */
export function repoKey(repo: Repo): string {
  return `${API_SEGMENTS[repo.type]}/${repo.id}`
}

/** The path of a repo's info in the API of the Hub. Those of its other documents begin with it. */
export function apiPath(repo: Repo): string {
  return `/api/${apiSegment(repo.type)}/${repo.id}`
}

/** The name by which a branch is known: at the Hub the default branch, which some clients call `HEAD`, is always `main`. */
export function branchName(revision: string): string {
  return revision === 'HEAD' ? 'main' : revision
}
