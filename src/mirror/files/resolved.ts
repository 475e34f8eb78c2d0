// What the resolver knows of a file for one caller, and the names under which more is kept of it.

import type { ByteRange } from '../../http/range.ts'
import type { blobKeyOf, FileMeta } from '../../hub/file-meta.ts'
import { type CommitHash, type Repo, repoKey } from '../../hub/names.ts'
import type { Refusal } from '../../hub/refusal.ts'
import type { ListedClaim } from '../../origin/files/file-body.ts'
import type { Outcome } from '../../telemetry/observer.ts'
import type { Body, Reusable } from '../answer.ts'
import type { Ctx } from '../context.ts'

/** What a listing says of the file of one GET, until the Hub has confirmed it. */
export interface Claim extends ListedClaim {
  /**
   * Whether the Hub has confirmed the claim, once the first bytes of the body are there. When it resolves to false, the body must
   * not be sent: the caller closes it and asks the Hub about the file. Never rejects.
   */
  holds(body: Body): Promise<boolean>
  /**
   * Compares the claim with what the Hub has then answered. Throws integrity_mismatch when clients have received something else by a
   * HEAD: they must not take these bytes for that file.
   */
  settle(asked: Resolved): void
}

/** Reads bytes that are on this machine beside the blobs. Throws as `ClonedFiles.read` does. */
export type LocalBytes = (range: ByteRange, signal: AbortSignal) => AsyncIterable<Buffer>

export interface ResolvedFile {
  readonly kind: 'file'
  readonly meta: FileMeta
  readonly key: ReturnType<typeof blobKeyOf>
  /**
   * Whether every caller may read it, so that its bytes may be stored. On a first request it is known later than the rest.
   */
  readonly isPublic: Promise<boolean>
  /** False when a policy keeps it off the disk: nothing is stored, and nothing stored is used. */
  readonly mayStore: boolean
  /** Where the description of the file comes from. */
  readonly outcome: Extract<Outcome, 'hit' | 'revalidated' | 'stale' | 'miss'>
  /** How long ago the Hub was asked where the branch is, when it was not asked now. */
  readonly ageMs?: number
  /** Stale because the Hub asks this credential to wait, not because it is away. */
  readonly isLimited?: boolean
  /** Present when the same holds for every caller. */
  readonly reusable?: Reusable | undefined
  /** Present for a GET that is described by the listing of the commit alone. */
  readonly claim?: Claim
  /** Present when the bytes need not be fetched though they may not be stored as a blob. */
  readonly local?: LocalBytes
}

export type Resolved =
  | ResolvedFile
  | {
      readonly kind: 'refusal'
      readonly refusal: Refusal
      readonly outcome: Outcome
      readonly ageMs?: number
      readonly isLimited?: boolean
      readonly reusable?: Reusable | undefined
    }

/** Signed URLs are kept per credential: one made for a member opens a private file to any holder. */
export function urlName(ctx: Ctx, repo: Repo, commit: CommitHash, path: string): string {
  return `${ctx.fingerprint} ${repoKey(repo)} ${commit} ${path}`
}
