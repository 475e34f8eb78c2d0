// What every method of the mirror gets to know about the request that it works for. Knows no framework.

import type { Caller } from '../callers/caller.ts'
import { callerKey } from '../callers/caller-key.ts'
import type { Repo } from '../hub/names.ts'
import type { Requester } from '../origin/client.ts'
import type { AccessNote } from '../telemetry/audit.ts'

/** The fingerprint of callers without a credential. */
export const ANONYMOUS = 'anonymous'

/** Tells one client from another: where its requests come from, and with which credential. */
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
  /** The rule that lets this caller read what is stored of the repo, if it is restricted and the Hub cannot be asked. */
  readonly servedBy: string | undefined
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
   * Sent to the Hub as Authorization. The caller's own field stays exactly as it came: a malformed one is for the Hub to
   * refuse, never for the mirror to drop. For a caller without one it is what a policy lends, or undefined.
   */
  readonly authorization: string | undefined
  /** The name of the mirror's own Hub token that `authorization` carries, if it does. */
  readonly lent: string | undefined
  /** Names the credential in memory: an HMAC under a key that lives as long as this process. */
  readonly fingerprint: string
  /** Aborts with this one client. It ends that client's reading, and must never reach work that is shared. */
  readonly signal: AbortSignal
  /** The base URL of this mirror as clients know it, without a trailing slash: `http://mirror:8080/hugging-face`. */
  readonly mirrorBase: string
  readonly forward: Readonly<Record<string, string>>
  /** How many requests were sent to the origin for this request. */
  readonly originRequests: { count: number }
  /**
   * Called before work that only the origin can do, and that is not shared with other callers. Counts once per request.
   * Rejects with client_limited. Absent when there is no limit.
   */
  readonly countAgainstLimit?: (() => Promise<void>) | undefined
  /**
   * Throws mirror_token_scope for a repo outside the scope of the caller's mirror token. Absent when the scope is all
   * repos.
   */
  readonly checkScope?: ((repo: Repo) => void) | undefined
  /** Collects what is decided about the caller's right, for the audit log. */
  readonly access: AccessNote
  /** Absent when there are neither policies nor a token scope, or the request is about no repo. */
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

/** The same request as if it had been sent without a credential. */
export function asAnonymous(ctx: Ctx): Ctx {
  return { ...ctx, authorization: undefined, fingerprint: ANONYMOUS }
}

/** The requester without a credential: what the Hub answers it is public. */
export function anonymousRequester(ctx: Ctx): Requester & { readonly authorization: undefined } {
  return { ...requesterOf(ctx), authorization: undefined }
}
