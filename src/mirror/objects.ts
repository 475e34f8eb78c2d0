// Objects that are named by their sha256 instead of by a path: those of transfer links (Git LFS) and registry blobs. Another
// kind of content beside files.

import { createHash } from 'node:crypto'
import { MirrorError } from '../errors.ts'
import type { Conditions } from '../http/select.ts'
import { type Repo, repoKey } from '../hub/names.ts'
import { askSize } from '../origin/files/object-size.ts'
import type { SignedUrls } from '../origin/files/signed-urls.ts'
import { type PublicOptions, proveObject, provePublic } from './access/public.ts'
import type { Answer } from './answer.ts'
import type { Content, Contents } from './content.ts'
import { getAnswer } from './content-answer.ts'
import { anonymousRequester, type Ctx } from './context.ts'
import { type HubSourceOptions, hubSource } from './hub-source.ts'

/** An object that the Hub has shown to be in the repo, to this caller. */
export interface KnownObject {
  readonly repo: Repo
  /** In hex. */
  readonly sha256: string
  readonly sizeBytes: number
  readonly contentType: string
  /** Whether the repo is public. Only then, or with `cachePrivate`, are bytes of it stored. */
  readonly isPublic: Promise<boolean>
  readonly mayStore: boolean
  /** The target at the Hub, or the one address that the Hub gave, which cannot be asked for again. */
  readonly from: string | URL
}

/** What a transfer link says of its object. */
export type LinkedObject = Pick<KnownObject, 'repo' | 'sha256' | 'sizeBytes' | 'mayStore'> & {
  readonly url: URL
  /** The mirror itself has found that the object belongs to a public repo. */
  readonly isProved?: boolean | undefined
}

export interface ObjectRequest {
  readonly method: 'GET' | 'HEAD'
  readonly conditions: Conditions
}

export interface ObjectsOptions extends HubSourceOptions, PublicOptions {
  readonly contents: Contents
  readonly urls: SignedUrls
  readonly offline: boolean
  /** Whether bytes that are not public may be stored. */
  readonly cachePrivate: boolean
}

export class Objects {
  readonly #options: ObjectsOptions

  constructor(options: ObjectsOptions) {
    this.#options = options
  }

  /** The object of a transfer link: `Mirror.object`. */
  async linked(ctx: Ctx, { url, isProved, ...link }: LinkedObject, request: ObjectRequest): Promise<Answer> {
    const isStored = link.mayStore && (await this.isStored(link.sha256, link.sizeBytes))
    // A Hub may give an address for any digest that it is sent. Where bytes of private repos are stored too, the address has to
    // show that they are the caller's.
    const isOpen = isStored && (!this.#options.cachePrivate || isProved === true)
    if (this.#options.offline && !isOpen) throw new MirrorError('offline_and_absent')
    if (!isOpen) await this.#checkSize(ctx, link, url)
    // The holder of the link may have the object. Whether the repo is public matters only to what is stored.
    const isPublic = isOpen
      ? Promise.resolve(true)
      : provePublic(ctx, link.repo, this.#options).then(
          (open) => open && proveObject(ctx, link, this.#options),
        )
    const contentType = 'application/octet-stream'
    return this.answer(ctx, { ...link, contentType, isPublic, from: url }, request)
  }

  /**
   * The size in a batch is what its caller has sent, and the Hub may repeat that. A download by a wrong size would fail for all
   * who join it. Throws transfer_link_refused, and as `askSize`.
   */
  async #checkSize(ctx: Ctx, { sizeBytes }: Pick<LinkedObject, 'sizeBytes'>, url: URL): Promise<void> {
    await ctx.countAgainstLimit?.()
    const stated = { sizeBytes, isBelieved: false }
    const found = await askSize(this.#options.client, url, anonymousRequester(ctx), ctx.signal, stated)
    if (found?.sizeBytes === sizeBytes) return
    const reason = found === undefined ? 'refused there' : 'another size'
    throw new MirrorError('transfer_link_refused', { detail: { reason, host: url.host } })
  }

  /** Whether the object is stored, whole and of this size. */
  async isStored(sha256: string, sizeBytes: number): Promise<boolean> {
    if (sizeBytes === 0) return sha256 === EMPTY_SHA256
    return this.#options.contents.isStored(`sha256:${sha256}`, sizeBytes)
  }

  /**
   * The answer to HEAD or GET of an object that the caller may have. The body is verified to its last byte, comes from the store
   * if it is there, and is downloaded once for all who ask.
   */
  async answer(ctx: Ctx, object: KnownObject, request: ObjectRequest): Promise<Answer> {
    const { sha256, sizeBytes } = object
    // For an empty object no byte is fetched, and so no digest is checked.
    if (sizeBytes === 0 && sha256 !== EMPTY_SHA256) throw new MirrorError('integrity_mismatch')
    const headers: Record<string, string> = {
      'content-type': object.contentType,
      etag: `"${sha256}"`,
      'accept-ranges': 'bytes',
      'access-control-allow-origin': '*',
      'cache-control': 'private, no-cache',
      'x-content-type-options': 'nosniff',
    }
    if (request.method === 'HEAD') {
      const answer = { status: 200, headers: { ...headers, 'content-length': String(sizeBytes) } }
      return { ...answer, outcome: 'bypass', body: { kind: 'none' } }
    }
    const representation = {
      content: this.#contentOf(ctx, object),
      etag: sha256,
      headers,
      outcome: 'miss',
    } as const
    return getAnswer(ctx, representation, request.conditions, this.#options.contents)
  }

  #contentOf(ctx: Ctx, { repo, sha256, sizeBytes, isPublic, mayStore, from }: KnownObject): Content {
    const isFixed = from instanceof URL
    const object = {
      repo,
      target: isFixed ? '/' : from,
      urls: isFixed ? onlyUrl(from) : this.#options.urls,
      urlName: `${ctx.fingerprint} ${repoKey(repo)} ${sha256}`,
      namesCommit: false,
      meta: { etag: sha256, sizeBytes },
    }
    const source = hubSource(ctx, object, this.#options)
    return { key: `sha256:${sha256}`, sizeBytes, isPublic, mayStore, source }
  }
}

const EMPTY_SHA256 = createHash('sha256').digest('hex')

/** One address that the Hub gave once. */
function onlyUrl(url: URL): SignedUrls {
  return {
    get: () => url,
    set: () => undefined,
    invalidate: (_name, _url, foreign) => {
      throw (
        foreign ??
        new MirrorError('transfer_link_refused', { detail: { reason: 'refused there', host: url.host } })
      )
    },
  }
}
