// Documents as the Hub has them: requested with the caller's own credential, once for all concurrent requests of the same
// target with the same credential, and read whole. Nothing is concluded here.

import { createHash } from 'node:crypto'
import { callerKey } from '../../callers/caller-key.ts'
import { MirrorError } from '../../errors.ts'
import { type HeaderBag, headerValue } from '../../http/headers.ts'
import { isOfDatasetsServer } from '../../hub/datasets-server.ts'
import type { HubRoute } from '../../hub/route.ts'
import { FALLBACK_TIMEOUT_MS, type OriginAnswer, type OriginClient } from '../../origin/client.ts'
import { REDIRECT_LOOP } from '../../origin/failures/bad-answer.ts'
import { followRedirects, withinOrigin } from '../../origin/follow.ts'
import { isRepoMoved } from '../../origin/repo-moved.ts'
import type { Access } from '../access/access.ts'
import { type Ctx, requesterOf } from '../context.ts'
import type { DocumentMemory, DocumentSpace } from './document-memory.ts'

export type DocumentRoute = Extract<HubRoute, { kind: 'document' }>

export interface DocumentRequest {
  /** Of the request to the Hub: GET for a HEAD, too, which gets the fields of the whole answer. */
  readonly method: 'GET' | 'POST'
  readonly body: Buffer | undefined
  readonly contentType: string | undefined
}

/** How the Hub is asked. */
export interface Asking {
  /** Whether the Hub gets less time, because a stored answer can take its place. */
  readonly hasFallback: boolean
  /** The Hub's validator of what is stored. The Hub may answer 304 instead of sending that again. */
  readonly etag?: string | undefined
}

/** The Hub's answer. Its body is the same object for all callers that share the answer. */
export interface HubAnswer {
  readonly status: number
  readonly headers: HeaderBag
  readonly body: Buffer
  /** When the request was sent. */
  readonly askedAt: number
}

/** The largest document. The info of a repo with 100,000 files is some 20 MB. */
const MAX_DOCUMENT_BYTES = 128 * 1024 * 1024
/** Documents up to this size take no memory: every connected client may hold that much. */
export const SMALL_DOCUMENT_BYTES = 64 * 1024

const NO_DATASETS_SERVER =
  'This mirror asks no datasets-server. Its operator can set HUBMIRROR_DATASETS_SERVER.'

/** The error for a request to the datasets-server if the mirror asks none. */
export function noDatasetsServer(): MirrorError {
  return new MirrorError('not_found', { message: NO_DATASETS_SERVER })
}

interface Question {
  readonly space: DocumentSpace
  readonly askedAt: number
  /**
   * The names of the repo that policies decided about. A caller decided about under other names asks again when the Hub
   * redirects to another name.
   */
  readonly names: string
  readonly epoch: number
  readonly answer: Promise<HubAnswer>
}

export class HubDocuments {
  readonly #client: OriginClient
  readonly #datasetsServer: OriginClient | undefined
  readonly #access: Pick<Access, 'deniedSince'>
  readonly #memory: DocumentMemory
  readonly #monotonic: () => number
  readonly #questions = new Map<string, Question>()
  #epoch = 0

  constructor(options: {
    readonly client: OriginClient
    /** Sends credentials to that host only. Undefined when the mirror asks none. */
    readonly datasetsServer?: OriginClient | undefined
    readonly access: Pick<Access, 'deniedSince'>
    readonly memory: DocumentMemory
    readonly monotonic: () => number
  }) {
    this.#client = options.client
    this.#datasetsServer = options.datasetsServer
    this.#access = options.access
    this.#memory = options.memory
    this.#monotonic = options.monotonic
  }

  /** The client for the host that has the document. Throws MirrorError when there is none. */
  clientFor({ document }: DocumentRoute): OriginClient {
    if (!isOfDatasetsServer(document)) return this.#client
    if (this.#datasetsServer === undefined) throw noDatasetsServer()
    return this.#datasetsServer
  }

  /** Something was changed through the mirror: requests from now on do not join one that was sent before. */
  changed(): void {
    this.#epoch += 1
  }

  /**
   * The Hub's answer to this caller's request, or to the same request of the same credential that is running. The caller
   * must call `done` once, when it needs the body no more; a hold of its own keeps the body in its space. Throws
   * MirrorError when the origin is away, or as `DocumentMemory` does.
   */
  async ask(
    ctx: Ctx,
    route: DocumentRoute,
    request: DocumentRequest,
    asking: Asking,
  ): Promise<{ readonly answer: HubAnswer; readonly done: () => void }> {
    const name = questionName(ctx, route, request, asking)
    const names = ctx.admission?.names ?? ''
    for (;;) {
      const running = this.#questions.get(name)
      const isJoined = running !== undefined && this.#mayJoin(ctx, route, running)
      const question = isJoined ? running : this.#start(name, ctx, route, { request, asking, names })
      const done = isJoined ? question.space.hold() : question.space.releaser()
      try {
        return { answer: await question.answer, done }
      } catch (error) {
        done()
        if (!isJoined || !isRepoMoved(error) || question.names === names) throw error
      }
    }
  }

  #start(
    name: string,
    ctx: Ctx,
    route: DocumentRoute,
    how: { readonly request: DocumentRequest; readonly asking: Asking; readonly names: string },
  ): Question {
    const space = this.#memory.open(callerKey(ctx.caller))
    const askedAt = this.#monotonic()
    const answer = this.#run(ctx, route, how, { space, askedAt }).finally(() => {
      if (this.#questions.get(name) === question) this.#questions.delete(name)
    })
    const question = { space, askedAt, names: how.names, epoch: this.#epoch, answer }
    this.#questions.set(name, question)
    return question
  }

  /** A right that was refused since, or a write, ends what others may have of an earlier request. */
  #mayJoin(ctx: Ctx, { repo }: DocumentRoute, { epoch, askedAt }: Question): boolean {
    return epoch === this.#epoch && !this.#access.deniedSince(ctx.fingerprint, repo, askedAt)
  }

  async #run(
    ctx: Ctx,
    route: DocumentRoute,
    { request, asking }: { readonly request: DocumentRequest; readonly asking: Asking },
    { space, askedAt }: { readonly space: DocumentSpace; readonly askedAt: number },
  ): Promise<HubAnswer> {
    const answer = await this.#send(ctx, route, request, asking)
    const { status, headers } = answer
    // Its Content-Length would be that of the document (RFC 9110 §8.6).
    if (status === 304) {
      await answer.body.dump()
      return { status, headers, body: Buffer.alloc(0), askedAt }
    }
    const body = await readBody(answer, space)
    this.#memory.settle(space, body)
    return { status, headers, body, askedAt }
  }

  async #send(
    ctx: Ctx,
    route: DocumentRoute,
    request: DocumentRequest,
    { hasFallback, etag }: Asking,
  ): Promise<OriginAnswer> {
    const client = this.clientFor(route)
    // A renamed repo: the answer is given under the name that the client used.
    const followed = await followRedirects(
      client.policy,
      client.url(route.target),
      (url) =>
        client.send({
          kind: 'document',
          method: request.method,
          url,
          requester: requesterOf(ctx),
          headers: {
            ...(request.contentType === undefined ? {} : { 'content-type': request.contentType }),
            ...(etag === undefined ? {} : { 'if-none-match': etag }),
          },
          ...(request.body === undefined ? {} : { body: request.body }),
          ...(hasFallback ? { timeoutMs: FALLBACK_TIMEOUT_MS } : {}),
        }),
      withinOrigin(ctx.admission?.onRedirect),
    )
    if (followed.kind === 'answer') return followed.answer
    if (followed.kind === 'loop') throw badAnswer(REDIRECT_LOOP)
    throw new MirrorError('redirect_refused', { detail: { host: followed.url.host } })
  }
}

function questionName(
  ctx: Ctx,
  route: DocumentRoute,
  request: DocumentRequest,
  { hasFallback, etag = '' }: Asking,
): string {
  const digest = createHash('sha256')
    .update(request.contentType ?? '')
    .update('\0')
    .update(request.body ?? '')
    .digest('base64url')
  return `${ctx.fingerprint} ${hasFallback} ${request.method} ${digest} ${etag} ${route.target}`
}

/** The whole body, in a buffer of its own. */
async function readBody(answer: OriginAnswer, space: DocumentSpace): Promise<Buffer> {
  const encoding = headerValue(answer.headers, 'content-encoding')
  const announced = headerValue(answer.headers, 'content-length')
  try {
    if (encoding !== undefined && encoding !== 'identity')
      throw badAnswer('encoded though identity was asked')
    if (announced !== undefined && Number(announced) > SMALL_DOCUMENT_BYTES) {
      if (Number(announced) > MAX_DOCUMENT_BYTES) throw badAnswer('document too large')
      await space.grow(Number(announced))
    }
    return await collect(answer, space, announced)
  } catch (error) {
    answer.body.destroy()
    if (error instanceof MirrorError) throw error
    throw new MirrorError('origin_unreachable', { cause: error, detail: { reason: 'the body broke off' } })
  }
}

async function collect(
  answer: OriginAnswer,
  space: DocumentSpace,
  announced: string | undefined,
): Promise<Buffer> {
  if (announced !== undefined && Number(announced) > SMALL_DOCUMENT_BYTES) {
    const whole = Buffer.allocUnsafeSlow(Number(announced))
    let end = 0
    for await (const part of answer.body) {
      const chunk = part as Buffer
      if (end + chunk.length > whole.length) throw badAnswer(WRONG_LENGTH)
      end += chunk.copy(whole, end)
    }
    if (end !== whole.length) throw badAnswer(WRONG_LENGTH)
    return whole
  }
  const parts: Buffer[] = []
  let size = 0
  let memory = SMALL_DOCUMENT_BYTES
  for await (const part of answer.body) {
    const chunk = part as Buffer
    parts.push(chunk)
    size += chunk.length
    if (size > MAX_DOCUMENT_BYTES) throw badAnswer('document too large')
    if (size <= memory) continue
    // The size is not announced, and the parts are copied in the end.
    memory = Math.min(2 * MAX_DOCUMENT_BYTES, size * 2)
    await space.grow(memory)
  }
  if (announced !== undefined && Number(announced) !== size) throw badAnswer(WRONG_LENGTH)
  // Not a part of a shared buffer, which would keep all of that in memory.
  const body = Buffer.allocUnsafeSlow(size)
  let end = 0
  for (const part of parts) end += part.copy(body, end)
  space.shrink(size <= SMALL_DOCUMENT_BYTES ? 0 : size)
  return body
}

const WRONG_LENGTH = 'short body'

function badAnswer(reason: string): MirrorError {
  return new MirrorError('origin_bad_answer', { detail: { reason } })
}
