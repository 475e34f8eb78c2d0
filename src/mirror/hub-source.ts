// The source of a content that the Hub has: a target at the Hub, requested with the caller's credential.

import type { Repo } from '../hub/names.ts'
import type { OriginClient } from '../origin/client.ts'
import { FileBody, type ListedClaim } from '../origin/files/file-body.ts'
import type { SignedUrls } from '../origin/files/signed-urls.ts'
import type { Observer } from '../telemetry/observer.ts'
import type { Access } from './access/access.ts'
import type { Content } from './content.ts'
import { anonymousRequester, asAnonymous, type Ctx, requesterOf } from './context.ts'

export interface HubSourceOptions {
  readonly client: OriginClient
  readonly observer: Observer
  readonly access: Access
  readonly monotonic: () => number
}

/** What to ask the Hub for, and what it has announced of the bytes. */
export interface HubObject {
  readonly repo: Repo
  /** The canonical target at the Hub. */
  readonly target: string
  readonly urls: SignedUrls
  /** The name under which `urls` keeps the signed URL of the bytes. Must name the credential. */
  readonly urlName: string
  /** False where the Hub names no commit beside the bytes: of objects that are asked for by their digest. */
  readonly namesCommit: boolean
  readonly meta: { readonly etag: string; readonly sizeBytes: number }
  /** Present when `meta` comes from a listing. */
  readonly claim?: ListedClaim | undefined
}

/** `Content.source` for bytes of the Hub. A refusal of the Hub ends the rights that it contradicts. */
export function hubSource(ctx: Ctx, object: HubObject, options: HubSourceOptions): Content['source'] {
  const { client, observer, access, monotonic } = options
  const { repo, ...from } = object
  return ({ lane, isShared }) =>
    new FileBody({
      ...from,
      lane,
      client,
      observer,
      requester: requesterOf(ctx),
      otherRequester: isShared ? anonymousRequester(ctx) : undefined,
      onRefused: (refusal, { authorization }) => {
        // Not awaited: the rights in memory have ended when this returns, and a failing disk is reported elsewhere.
        const refused = authorization === undefined ? asAnonymous(ctx) : ctx
        void access.refused(refused, repo, refusal, monotonic())
      },
    })
}
