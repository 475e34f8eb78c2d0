// What every method of the mirror is told about the request it works for. Knows no framework.

import type { Caller } from '../callers/caller.ts'
import { callerKey } from '../callers/caller-key.ts'
import type { Repo } from '../hub/names.ts'
import type { Requester } from '../origin/client.ts'
import type { AccessNote } from '../telemetry/audit.ts'

/** The fingerprint of callers without a credential. */
export const ANONYMOUS = 'anonymous'

/** One client as others are told from it: where it asks from, and with which credential. */
export interface ClientName {
  readonly address: string
  /** `Ctx.fingerprint`. */
  readonly fingerprint: string
}

/** What the policies have decided about a request that they let in. */
export interface Admission {
  /** The names of the rules that had a say, with commas; empty when none had. */
  readonly rules: string
  /** The name of the Hub token that is lent to a caller without one. */
  readonly useToken: string | undefined
  /** Whether bytes and facts may reach the disk: of a file by its size, of the repo with `undefined`. */
  readonly mayStore: (sizeBytes: number | undefined) => boolean
  /** To be called with the size of a file before a byte of it is served. Throws policy_denied. */
  readonly checkSize: (sizeBytes: number) => void
  /** The names of the repo that were decided about, with commas. */
  readonly names: string
  /** Throws RepoMoved when a redirect leads to a repo under a name that was not decided about. */
  readonly onRedirect: (url: URL) => void
  /** Throws RepoMoved when the Hub has meanwhile reported such a name, to any caller. See renames.ts for who calls it. */
  readonly checkName: () => void
}

export interface Ctx {
  readonly id: string
  readonly caller: Caller
  /**
   * What the Hub gets as Authorization. The caller's own field exactly as it came: what the Hub does not understand is
   * for the Hub to refuse, never for us to drop. For callers without one it is what a policy lends, or undefined.
   */
  readonly authorization: string | undefined
  /** The name of the mirror's own Hub token that `authorization` carries, if it does. */
  readonly lent: string | undefined
  /** Names the credential in memory: an HMAC under a key of this process. */
  readonly fingerprint: string
  /** Belongs to this one client: ends its reading, and must never reach work that others share. */
  readonly signal: AbortSignal
  /** What clients call this mirror, without a trailing slash: `http://mirror:8080/hugging-face`. */
  readonly mirrorBase: string
  readonly forward: Readonly<Record<string, string>>
  /** How often the origin was asked on behalf of this request. */
  readonly originRequests: { count: number }
  /**
   * Called before work that only the origin can do, outside of what several callers share. Counts once per request;
   * rejects with client_limited. Absent where nobody is limited.
   */
  readonly countAgainstLimit?: (() => Promise<void>) | undefined
  /** Throws mirror_token_scope for a repo that the caller's mirror token is not for. Absent where it is for all. */
  readonly checkScope?: ((repo: Repo) => void) | undefined
  /** Takes what is decided about the caller's right. */
  readonly access: AccessNote
  /** What the rules said; none where there are neither rules nor a scope, or the request is about no repo. */
  readonly admission?: Admission | undefined
}

/** The requester that carries the caller's own credential. */
export function requesterOf(ctx: Ctx): Requester {
  return {
    authorization: ctx.authorization,
    caller: callerKey(ctx.caller),
    forward: ctx.forward,
    onOriginRequest: () => (ctx.originRequests.count += 1),
    onRedirect: ctx.admission?.onRedirect,
  }
}

/** The same request as somebody without a credential would have made it. */
export function asAnonymous(ctx: Ctx): Ctx {
  return { ...ctx, authorization: undefined, fingerprint: ANONYMOUS }
}

/** The requester without a credential: what the Hub answers it is public. */
export function anonymousRequester(ctx: Ctx): Requester & { readonly authorization: undefined } {
  return { ...requesterOf(ctx), authorization: undefined }
}
