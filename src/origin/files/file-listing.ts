// Facts about a file from other places than the header fields of a resolve answer, for gateways that drop those fields:
// the commit of a branch from the repo's info, digest and size from the listing. An answer that is no JSON counts as no
// answer.

import type { SomeFacts } from '../../hub/file-meta.ts'
import { apiPath, type CommitHash, isCommitHash, type Repo } from '../../hub/names.ts'
import { isRecord } from '../../records.ts'
import type { OriginClient, OriginRequest, Requester } from '../client.ts'
import { followRedirects, withinOrigin } from '../follow.ts'
import { discard, readBounded } from '../read-body.ts'

/** A file as a URL names it. */
export interface FileName {
  readonly repo: Repo
  readonly revision: string
  readonly path: string
}

export interface FileQuestion {
  readonly client: OriginClient
  readonly requester: Requester
  readonly timeoutMs?: number | undefined
}

/** The info of a repo whose origin does not know `expand` may be long. */
const MAX_JSON_BYTES = 16 * 1024 * 1024

/**
 * The commit that the revision stands for now; undefined if the origin does not say. Throws MirrorError if it cannot be
 * reached.
 */
export async function askCommit(
  question: FileQuestion,
  { repo, revision }: FileName,
): Promise<CommitHash | undefined> {
  if (isCommitHash(revision)) return revision
  const target = `${apiPath(repo)}/revision/${encodeURIComponent(revision)}`
  const info = await askJson(question, { method: 'GET', url: question.client.url(`${target}?expand=sha`) })
  const sha = isRecord(info) ? info['sha'] : undefined
  return typeof sha === 'string' && isCommitHash(sha) ? sha : undefined
}

/**
 * Digest and size of the file at a commit, by `paths-info`; undefined if the origin does not say. Throws MirrorError if
 * it cannot be reached.
 */
export async function askListing(
  question: FileQuestion,
  { repo, path }: FileName,
  commit: CommitHash,
): Promise<Required<Pick<SomeFacts, 'etag' | 'sizeBytes' | 'lfs'>> | undefined> {
  const items = await askJson(question, {
    method: 'POST',
    url: question.client.url(`${apiPath(repo)}/paths-info/${commit}`),
    headers: { 'content-type': 'application/json' },
    body: Buffer.from(JSON.stringify({ paths: [path], expand: false })),
  })
  const item: unknown = Array.isArray(items)
    ? items.find((each) => isRecord(each) && each['path'] === path && each['type'] === 'file')
    : undefined
  if (!isRecord(item)) return undefined
  const { lfs } = item
  const [etag, sizeBytes] = isRecord(lfs) ? [lfs['oid'], lfs['size']] : [item['oid'], item['size']]
  const isDigest =
    typeof etag === 'string' && (isRecord(lfs) ? /^[0-9a-f]{64}$/ : /^[0-9a-f]{40}$/).test(etag)
  if (!isDigest || typeof sizeBytes !== 'number' || !Number.isSafeInteger(sizeBytes) || sizeBytes < 0)
    return undefined
  return { etag, sizeBytes, lfs: isRecord(lfs) }
}

/** The JSON of a 200, redirects within the origin followed; undefined for every other answer. */
async function askJson(
  { client, requester, timeoutMs }: FileQuestion,
  request: Pick<OriginRequest, 'method' | 'url' | 'headers' | 'body'>,
): Promise<unknown> {
  const timeout = timeoutMs === undefined ? {} : { timeoutMs }
  const followed = await followRedirects(
    client.policy,
    request.url,
    (url) => client.send({ kind: 'document', ...request, url, requester, ...timeout }),
    withinOrigin(requester.onRedirect),
  )
  if (followed.kind !== 'answer') return undefined
  const { answer } = followed
  if (answer.status !== 200) {
    discard(answer)
    return undefined
  }
  const body = await readBounded(answer, MAX_JSON_BYTES)
  try {
    return body === undefined ? undefined : JSON.parse(body.toString('utf8'))
  } catch {
    return undefined
  }
}
