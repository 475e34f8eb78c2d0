// Finds out what a file is: commit, etag, size, and where its bytes are. Follows the Hub's own redirects hop by hop, and looks
// elsewhere for what a gateway on the way has dropped. Does not know the disk.

import { setTimeout as sleep } from 'node:timers/promises'
import { MirrorError } from '../../errors.ts'
import { waitMsOf } from '../../http/retry-after.ts'
import {
  commitOfPath,
  completed,
  type FileMeta,
  type FirstHop,
  readFirstHop,
  type SomeFacts,
} from '../../hub/file-meta.ts'
import type { CommitHash } from '../../hub/names.ts'
import type { Refusal } from '../../hub/refusal.ts'
import { resolveTarget } from '../../hub/route.ts'
import type { OriginAnswer, OriginClient, Requester } from '../client.ts'
import { badAnswer, hubFailure, interception, REDIRECT_LOOP } from '../failures/bad-answer.ts'
import { readRefusedByHub } from '../failures/refused.ts'
import { isRetryableStatus, LONGEST_WAIT_MS, retryDelayMs } from '../failures/retry.ts'
import { discard } from '../read-body.ts'
import { MAX_HOPS, mayCarryCredential, redirectTarget } from '../redirect.ts'
import { askCommit, askListing, type FileName, type FileQuestion } from './file-listing.ts'

/** What the Hub said about a file: its facts and where the bytes are, or its own "no". */
export type HeadResult =
  | {
      readonly kind: 'meta'
      readonly meta: FileMeta
      readonly location: URL | undefined
      /** When the Hub sent the location, by its own clock (epoch ms). */
      readonly signedAt?: number | undefined
    }
  | { readonly kind: 'refusal'; readonly refusal: Refusal }

interface HeadOptions {
  readonly timeoutMs?: number
  /** How often a failed request is repeated. */
  readonly retries: number
  /** What is known of the file, perhaps at another commit: the same digest means the same size. */
  readonly known?: FileMeta | undefined
}

/**
 * Asks HEAD for a file and follows the Hub's own redirects (renamed repo, resolve-cache); the last hop to another host
 * is not taken. The commit comes from the first hop that names one (huggingface_hub reads it there too). What a gateway
 * on the way has dropped is looked for elsewhere: in the answer to a GET, in the URL, in info and listing. Throws
 * MirrorError when the origin is away, when something else answers in its place, or when it is not to be trusted.
 */
export async function headFile(
  client: OriginClient,
  file: FileName,
  requester: Requester,
  options: HeadOptions,
): Promise<HeadResult> {
  const { timeoutMs } = options
  const question = { client, requester, timeoutMs }
  let url = client.url(resolveTarget(file.repo, file.revision, file.path))
  let commit: CommitHash | undefined
  for (let hop = 0; hop <= MAX_HOPS; hop += 1) {
    const first = await firstHop(question, url, options)
    switch (first.kind) {
      case 'refusal':
        return pinned(first, commitOfPath(url.pathname))
      case 'bad':
        throw badAnswer(first.reason, url)
      case 'meta': {
        // The commit of the address the client used wins over that of a later hop.
        const meta = commit === undefined ? first.meta : { ...first.meta, commit }
        if (!hasDigest(meta)) {
          const next = first.location === undefined ? url : redirectTarget(client.policy, url, first.location)
          return completedBy(question, file, { facts: meta, url: next, signedAt: first.signedAt, meta })
        }
        if (first.location !== undefined) {
          const location = redirectTarget(client.policy, url, first.location)
          return { kind: 'meta', meta, location, signedAt: first.signedAt }
        }
        // Only an address of the commit means the same bytes tomorrow; that of a renamed repo may name a branch.
        const isPinned = hop > 0 && url.pathname.split('/').includes(meta.commit)
        return { kind: 'meta', meta, location: isPinned ? url : undefined }
      }
      case 'redirect': {
        commit ??= first.commit
        const next = redirectTarget(client.policy, url, first.location)
        if (mayCarryCredential(client.policy, next)) {
          url = next
          requester.onRedirect?.(url)
          break
        }
        // A redirect to the bytes that says nothing of them: X-Linked-* has been dropped.
        commit ??= commitOfPath(url.pathname)
        const { signedAt } = first
        if (commit !== undefined)
          return completedBy(question, file, { facts: { commit, lfs: false }, url: next, signedAt })
        url = await pinnedUrl(question, file, 'a redirect without file metadata')
        break
      }
      case 'incomplete': {
        const { facts, location, signedAt, reason } = first
        commit ??= facts.commit ?? commitOfPath(url.pathname)
        if (commit === undefined) {
          // With the commit in the address, everything that is said of the file describes the same bytes.
          url = await pinnedUrl(question, file, reason)
          break
        }
        const next = location === undefined ? url : redirectTarget(client.policy, url, location)
        return completedBy(question, file, { facts: { ...facts, commit }, url: next, signedAt, reason })
      }
      default:
        first satisfies never
    }
  }
  throw badAnswer(REDIRECT_LOOP, url)
}

/** The answer to HEAD, or that to GET if the former does not show that a Hub sent it, or how long the file is. */
async function firstHop(question: FileQuestion, url: URL, options: HeadOptions): Promise<FirstHop> {
  const answer = await headOnce(question, url, options)
  const first = readFirstHop(answer.headers, answer.status)
  // The answer to a HEAD has no body, which would distinguish a Hub from a filter; and some filters block every HEAD.
  if (first.kind === 'refusal') {
    const isDoubtful = first.refusal.isForeign === true && answer.status !== 429
    return isDoubtful ? firstHopByGet(question, url) : first
  }
  if (first.kind === 'bad' && answer.status < 300) throw interception({ ...answer, host: url.host }, 'hub')
  if (first.kind !== 'incomplete' || first.location !== undefined) return first
  const { facts } = first
  if (facts.sizeBytes !== undefined) return first
  const { known } = options
  // Gateways drop Content-Length from HEAD answers of small files.
  if (known !== undefined && facts.etag === known.etag && facts.lfs === known.lfs)
    return completed({ ...facts, sizeBytes: known.sizeBytes }, 'HEAD')
  const second = await firstHopByGet(question, url)
  if (second.kind !== 'incomplete') return second
  const isSame = second.facts.etag === undefined || second.facts.etag === facts.etag
  return isSame ? completed({ ...facts, ...defined(second.facts) }, 'HEAD and GET') : second
}

/** Requests one byte, and uses the headers of the answer alone. Throws MirrorError where no Hub answers. */
async function firstHopByGet({ client, requester, timeoutMs }: FileQuestion, url: URL): Promise<FirstHop> {
  const ask = (headers: Readonly<Record<string, string>>): Promise<OriginAnswer> =>
    client.send({
      kind: 'head',
      method: 'GET',
      url,
      requester,
      headers,
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
    })
  let answer = await ask({ range: 'bytes=0-0' })
  if (answer.status === 416) {
    // An empty file has no first byte.
    discard(answer)
    answer = await ask({})
  }
  if (answer.status < 400) {
    discard(answer)
    return readFirstHop(answer.headers, answer.status)
  }
  return { kind: 'refusal', refusal: (await readRefusedByHub(answer, url.host)).refusal }
}

/** The address of the file at the commit that its revision is now. */
async function pinnedUrl(question: FileQuestion, file: FileName, reason: string): Promise<URL> {
  const commit = await askCommit(question, file)
  const url = question.client.url(resolveTarget(file.repo, commit ?? file.revision, file.path))
  if (commit === undefined) throw badAnswer(reason, url)
  return url
}

/**
 * The facts, with those of the listing where the answer has none, or has no digest. `meta` counts if the listing says
 * nothing either: an answer that names its commit, and has an etag of another kind.
 */
async function completedBy(
  question: FileQuestion,
  file: FileName,
  known: {
    readonly facts: SomeFacts & { readonly commit: CommitHash }
    readonly url: URL
    readonly signedAt: number | undefined
    readonly meta?: FileMeta
    readonly reason?: string
  },
): Promise<HeadResult> {
  const { facts, url, signedAt, reason = 'a redirect without file metadata' } = known
  let whole = completed(facts, reason)
  if (whole.kind === 'incomplete' || !hasDigest(facts)) {
    // The listing describes the commit, whatever else the answer says.
    const found = await askListing(question, file, facts.commit)
    if (found !== undefined) whole = completed({ ...facts, ...found }, reason)
    else if (known.meta === undefined) throw badAnswer(reason, url)
  }
  if (whole.kind === 'incomplete') throw badAnswer(reason, url)
  const own = mayCarryCredential(question.client.policy, url)
  const isPinned = !own || url.pathname.split('/').includes(whole.meta.commit)
  return { kind: 'meta', meta: whole.meta, location: isPinned ? url : undefined, signedAt }
}

/** Whether the etag is the digest by which the bytes can be checked. */
function hasDigest({ etag, lfs }: Pick<SomeFacts, 'etag' | 'lfs'>): boolean {
  return (lfs ? /^[0-9a-f]{64}$/ : /^[0-9a-f]{40}$/).test(etag ?? '')
}

/** The address names the commit. A gateway may have dropped it from an answer that says that the file is absent. */
function pinned(
  { refusal }: Extract<FirstHop, { kind: 'refusal' }>,
  commit: CommitHash | undefined,
): Extract<HeadResult, { kind: 'refusal' }> {
  const isAbsent = refusal.code === 'EntryNotFound' && refusal.commit === undefined && commit !== undefined
  return { kind: 'refusal', refusal: isAbsent ? { ...refusal, commit } : refusal }
}

function defined(facts: SomeFacts): SomeFacts {
  return Object.fromEntries(
    Object.entries(facts).filter(([, value]) => value !== undefined),
  ) as unknown as SomeFacts
}

async function headOnce(
  { client, requester, timeoutMs }: FileQuestion,
  url: URL,
  { retries }: HeadOptions,
): Promise<OriginAnswer> {
  for (let attempt = 1; ; attempt += 1) {
    const last = attempt > retries
    try {
      const answer = await client.send({
        kind: 'head',
        method: 'HEAD',
        url,
        requester,
        ...(timeoutMs === undefined ? {} : { timeoutMs }),
      })
      await answer.body.dump()
      if (!isRetryableStatus(answer.status)) return answer
      const waitMs = waitMsOf(answer.headers, Date.now()) ?? 0
      if (last || waitMs > LONGEST_WAIT_MS) throw hubFailure({ ...answer, host: url.host })
    } catch (error) {
      if (last || !(error instanceof MirrorError) || error.code !== 'origin_unreachable') throw error
    }
    await sleep(retryDelayMs(attempt, Math.random))
  }
}
