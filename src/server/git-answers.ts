// What clients of git and git-lfs are answered from the store, while the Hub is away: the parts of a clone, and batches of downloads.

import type { FastifyRequest } from 'fastify'
import { gitRequest } from '../hub/git.ts'
import { batchObjects } from '../hub/lfs-batch.ts'
import type { Repo } from '../hub/names.ts'
import type { HubRoute } from '../hub/route.ts'
import type { Answer } from '../mirror/answer.ts'
import type { Ctx } from '../mirror/context.ts'
import type { GitQuestion } from '../mirror/git-exchange.ts'
import type { Mirror } from '../mirror/mirror.ts'
import type { OriginClient } from '../origin/client.ts'
import { MAX_GIT_QUESTION_BYTES } from './request-bodies.ts'
import { TRANSFER_PATH, type TransferLinks } from './transfers/transfer-links.ts'

export interface GitAnswerOptions {
  readonly mirror: Pick<Mirror, 'git' | 'storedGit' | 'storedObjects' | 'isHubAway'>
  readonly client: Pick<OriginClient, 'policy'>
  readonly offline: boolean
  readonly transferLinks: () => Promise<TransferLinks>
}

/** The ways to answer one request. Both resolve with undefined when the store has no answer. */
export interface GitAnswers {
  /** The answer, if the Hub is known to be away. */
  readonly now: () => Promise<Answer | undefined>
  /** The answer for when the Hub turns out to be away. Absent if the request cannot be answered then. */
  readonly later?: (() => Promise<Answer | undefined>) | undefined
}

/** Undefined for a request that is not about git. `batch` is the body of a Git LFS batch of downloads. */
export function gitAnswers(
  request: FastifyRequest,
  {
    route,
    ctx,
    readBody,
    batch,
  }: {
    readonly route: HubRoute
    readonly ctx: Ctx
    readonly readBody: (maxBytes: number) => Promise<Buffer>
    readonly batch: Buffer | undefined
  },
  options: GitAnswerOptions,
): GitAnswers | undefined {
  const { mirror } = options
  const { repo } = route
  if (batch !== undefined && repo !== undefined) {
    const later = (): Promise<Answer | undefined> => batchAnswer(batch, { ctx, repo }, options)
    return { now: async () => (mirror.isHubAway() ? later() : undefined), later }
  }
  const asked = gitRequest(route, request.raw.method)
  if (asked === undefined) return undefined
  const question = questionOf(request, readBody)
  return {
    now: () => mirror.git(ctx, route, asked, question),
    later: asked.kind === 'refs' ? () => mirror.storedGit(ctx, route, asked, question) : undefined,
  }
}

function questionOf(
  { raw: { headers } }: FastifyRequest,
  readBody: (maxBytes: number) => Promise<Buffer>,
): GitQuestion {
  const protocol = headers['git-protocol']
  let body: Promise<Buffer> | undefined
  return {
    protocol: Array.isArray(protocol) ? protocol[0] : protocol,
    encoding: headers['content-encoding'],
    body: () => (body ??= readBody(MAX_GIT_QUESTION_BYTES)),
  }
}

/** How long a client may take for the objects of a batch. */
const LIFE_SECONDS = 3600

/**
 * The answer to a batch of downloads: a link to each object that is stored, and an error for each other one. Undefined when none is
 * stored, or the repo is not kept.
 */
async function batchAnswer(
  batch: Buffer,
  { ctx, repo }: { readonly ctx: Ctx; readonly repo: Repo },
  { mirror, client, offline, transferLinks }: GitAnswerOptions,
): Promise<Answer | undefined> {
  const asked = batchObjects(batch)
  const stored = asked && (await mirror.storedObjects(ctx, repo, asked))
  if (asked === undefined || stored === undefined || stored.size === 0) return undefined
  const links = await transferLinks()
  const expiresAt = links.now() + LIFE_SECONDS * 1000
  const objects = asked.map(({ oid, size }) => {
    const sealed = stored.has(oid)
      ? links.seal({
          // It is not requested: the object is stored.
          url: client.policy.base,
          method: 'GET',
          repo,
          oid,
          sizeBytes: size,
          headers: {},
          mayStore: true,
          isProved: true,
          expiresAt,
        })
      : undefined
    if (sealed === undefined) return { oid, size, error: { code: 404, message: ABSENT } }
    const href = `${ctx.mirrorBase}${TRANSFER_PATH}${sealed}`
    return { oid, size, authenticated: true, actions: { download: { href, expires_in: LIFE_SECONDS } } }
  })
  const bytes = Buffer.from(JSON.stringify({ transfer: 'basic', objects, hash_algo: 'sha256' }))
  return {
    status: 200,
    headers: {
      'content-type': 'application/vnd.git-lfs+json',
      'content-length': String(bytes.length),
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
    },
    outcome: offline ? 'hit' : 'stale',
    body: { kind: 'bytes', bytes },
  }
}

const ABSENT = 'The Hub is away, and this object is not stored on this mirror.'
