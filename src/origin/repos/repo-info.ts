// Requests the Hub's own info of a repo, limited to the few fields that decide something. Caches nothing.

import { apiPath, parseRepoId, type Repo, type RepoId, repoKey } from '../../hub/names.ts'
import { deniesRepo, readRefusal } from '../../hub/refusal.ts'
import type { OriginClient, Requester } from '../client.ts'
import { followRedirects, withinOrigin } from '../follow.ts'
import { readBounded } from '../read-body.ts'

/** More than the info of any repo. That of a Space cannot be requested in part. */
const MAX_INFO_BYTES = 16 * 1024 * 1024
/** Statuses of an origin that has no such route. Out of quota or in trouble it would answer differently. */
const NO_SUCH_ROUTE: ReadonlySet<number> = new Set([404, 405, 501])

/**
 * `unsaid`: the origin has no such info, like other kinds of mirror. Undefined: it did not answer this time, and nothing
 * follows from that.
 */
export type InfoAnswer =
  | { readonly kind: 'info'; readonly info: Readonly<Record<string, unknown>> }
  | { readonly kind: 'refused' }
  | { readonly kind: 'unsaid' }
  | undefined

/**
 * Requests the info of a repo. Throws MirrorError when the origin is away. `onMoved` is called with the target of a redirect
 * within the origin before it is taken; it throws to stop there.
 */
export function askRepoInfo(
  client: OriginClient,
  repo: Repo,
  requester: Requester,
  options: AskOptions & { readonly licence?: boolean } = {},
): Promise<InfoAnswer> {
  return askAbout(client, infoTarget(repo, options.licence === true), requester, options)
}

interface AskOptions {
  readonly timeoutMs?: number
  readonly onMoved?: ((url: URL) => void) | undefined
}

/** A branch, tag or other ref, by the name that clients use for it, and the commit that it stands for. */
export interface RepoRef {
  readonly name: string
  readonly commit: string
}

/**
 * Asks for all refs of a repo, pull requests among them. Undefined if the origin does not show the repo to this requester, or
 * if its answer is not a list of refs. A list that is read in part could hide the name that a rule is about. Throws as
 * `askRepoInfo`.
 */
export async function askRepoRefs(
  client: OriginClient,
  repo: Repo,
  requester: Requester,
  options: AskOptions = {},
): Promise<readonly RepoRef[] | undefined> {
  const answer = await askAbout(client, `/api/${repoKey(repo)}/refs?include_prs=1`, requester, options)
  return answer?.kind === 'info' ? parseRefs(answer.info) : undefined
}

/** The refs that an answer lists; undefined when it is not a list of refs throughout. Only branches are in every answer. */
function parseRefs(info: Readonly<Record<string, unknown>>): readonly RepoRef[] | undefined {
  const refs: RepoRef[] = []
  for (const [kind, named] of [
    ['branches', 'name'],
    ['tags', 'name'],
    ['converts', 'ref'],
    ['pullRequests', 'ref'],
  ] as const) {
    const list = info[kind] ?? (kind === 'branches' ? undefined : [])
    if (!Array.isArray(list)) return undefined
    for (const each of list as readonly unknown[]) {
      const { [named]: name, targetCommit: commit } = (each ?? {}) as Readonly<Record<string, unknown>>
      if (typeof name !== 'string' || typeof commit !== 'string') return undefined
      refs.push({ name, commit })
    }
  }
  return refs
}

async function askAbout(
  client: OriginClient,
  target: string,
  requester: Requester,
  options: AskOptions,
): Promise<InfoAnswer> {
  const timeout = options.timeoutMs === undefined ? {} : { timeoutMs: options.timeoutMs }
  // A renamed repo, or an id of one segment, is answered with a redirect.
  const followed = await followRedirects(
    client.policy,
    client.url(target),
    (url) => client.send({ kind: 'access', method: 'GET', url, requester, ...timeout }),
    withinOrigin(options.onMoved),
  )
  if (followed.kind !== 'answer') return undefined
  const { answer } = followed
  const body = await readBounded(answer, MAX_INFO_BYTES)
  if (answer.status >= 400) {
    // The page of an intermediary denies nothing, and proves nothing.
    if (deniesRepo(readRefusal(answer.status, answer.headers, body ?? Buffer.alloc(0))))
      return { kind: 'refused' }
    return NO_SUCH_ROUTE.has(answer.status) ? { kind: 'unsaid' } : undefined
  }
  const info = answer.status === 200 && body !== undefined ? parseInfo(body) : undefined
  return info === undefined ? undefined : { kind: 'info', info }
}

/** The JSON as an info; undefined when it is none. */
export function parseInfo(body: Buffer): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(body.toString('utf8'))
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined
  } catch {
    return undefined
  }
}

/** What an info says about a repo besides who may read it. Undefined: the info does not say. */
export interface RepoTraits {
  /** The Hub's own name of the repo, whatever name was requested. */
  readonly name: RepoId | undefined
  /** Lower case; empty when the repo names none. */
  readonly licence: readonly string[] | undefined
}

export function traitsOf(info: Readonly<Record<string, unknown>>): RepoTraits {
  const { id } = info
  return { name: typeof id === 'string' ? parseRepoId(id) : undefined, licence: licenceOf(info) }
}

/** From the tags, in which the Hub repeats what the card says; the card itself may name several, or one of its own. */
function licenceOf({ tags, cardData }: Readonly<Record<string, unknown>>): readonly string[] | undefined {
  const found: string[] = []
  const add = (value: unknown): void => {
    if (typeof value === 'string' && value !== '') found.push(value.toLowerCase())
  }
  if (Array.isArray(tags)) {
    for (const tag of tags) if (typeof tag === 'string' && /^license:/i.test(tag)) add(tag.slice(8))
  }
  const card =
    typeof cardData === 'object' && cardData !== null ? (cardData as Record<string, unknown>) : undefined
  const { license, license_name: name } = card ?? {}
  if (Array.isArray(license)) license.forEach(add)
  else add(license)
  add(name)
  return Array.isArray(tags) || card !== undefined ? [...new Set(found)] : undefined
}

/** Only the fields that matter, where the Hub knows them all: the whole info of a repo with many files is large. */
function infoTarget(repo: Repo, withLicence: boolean): string {
  const target = apiPath(repo)
  if (repo.type !== 'model' && repo.type !== 'dataset') return target
  const fields = ['private', 'gated', 'disabled', ...(withLicence ? ['tags', 'cardData'] : [])]
  return `${target}?${fields.map((field) => `expand=${field}`).join('&')}`
}
