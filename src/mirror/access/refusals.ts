// What the Hub refused to a credential a moment ago. It is repeated without asking, so that a storm of refused requests
// costs one. Kept in memory and for a short time, since a right that was just given must work at once. Knows no verdicts.

import { mayBeOutsideGate } from '../../hub/gate.ts'
import { type Repo, repoKey } from '../../hub/names.ts'
import { isBadToken, type Refusal } from '../../hub/refusal.ts'
import { MemoryCache, textBytes } from '../../memory.ts'
import type { Metadata } from '../metadata/metadata.ts'
import type { Access } from './access.ts'

/** A refusal lives this many times shorter than a right. */
const SHORTER = 10
const LONGEST_MS = 5_000
/** No refusal of the Hub is longer. A page of another origin is not kept. */
const MAX_BODY_BYTES = 8 * 1024

export interface CachedRefusal {
  readonly refusal: Refusal
  readonly headers: Readonly<Record<string, string>>
  /** When the request was sent. */
  readonly at: number
}

/** Files and documents are refused in different forms, and a gated repo refuses only files. */
export type RefusalKey = { readonly kind: 'file' | 'document'; readonly repo: Repo; readonly target: string }

export class Refusals {
  readonly #settings: { readonly accessTtlMs: number }
  readonly #monotonic: () => number
  readonly #refusals = new MemoryCache<CachedRefusal>({ maxBytes: 8 * 1024 * 1024, sizeOf })
  // When a write with this credential was accepted. It may have changed what the credential may read.
  readonly #writes = new MemoryCache<number>({ maxBytes: 4 * 1024 * 1024 })

  constructor(options: {
    readonly settings: { readonly accessTtlMs: number }
    readonly monotonic: () => number
  }) {
    this.#settings = options.settings
    this.#monotonic = options.monotonic
  }

  get #lifeMs(): number {
    return Math.min(LONGEST_MS, this.#settings.accessTtlMs / SHORTER)
  }

  set(fingerprint: string, asked: RefusalKey, cached: CachedRefusal): void {
    if (this.#lifeMs === 0 || cached.refusal.body.length > MAX_BODY_BYTES) return
    const isAll = isOfWholeRepo(cached.refusal) && !isOnItsOwn(asked)
    const { refusal } = cached
    // A copy: the body may be a small part of a buffer that many answers share.
    const kept = { ...cached, refusal: { ...refusal, body: copyOf(refusal.body) } }
    this.#refusals.set(isAll ? repoName(fingerprint, asked) : targetName(fingerprint, asked), kept)
  }

  /** What the Hub answered to this credential for this target, while that is recent enough. */
  get(fingerprint: string, asked: RefusalKey): CachedRefusal | undefined {
    const names = [
      targetName(fingerprint, asked),
      ...(isOnItsOwn(asked) ? [] : [repoName(fingerprint, asked)]),
    ]
    for (const name of names) {
      const found = this.#refusals.get(name)
      if (found === undefined || this.#monotonic() - found.at >= this.#lifeMs) continue
      if ((this.#writes.get(fingerprint) ?? Number.NEGATIVE_INFINITY) < found.at) return found
    }
    return undefined
  }

  /** A write with this credential was accepted: it may have created the repo that was missing a moment ago. */
  invalidate(fingerprint: string): void {
    this.#writes.set(fingerprint, this.#monotonic())
  }
}

function sizeOf({ refusal, headers }: CachedRefusal): number {
  const texts = Object.values({ ...refusal, ...headers }).filter((value) => typeof value === 'string')
  return 500 + refusal.body.length + textBytes(...texts)
}

function copyOf(bytes: Buffer): Buffer {
  const copy = Buffer.alloc(bytes.length)
  bytes.copy(copy)
  return copy
}

/** Whether something since may have ended the refusal: a write to the repo, or the proof that it is public. */
export function isOver(
  { refusal, at }: CachedRefusal,
  repo: Repo,
  caches: { readonly metadata: Metadata; readonly access: Access },
): boolean {
  if (caches.metadata.refs.changedSince(repo, at)) return true
  return !isBadToken(refusal) && caches.access.isPublicSince(repo, at)
}

/**
 * Whether the refusal is about the repo or the token, and not about the target alone: another Hub may have its own rules.
 */
function isOfWholeRepo(refusal: Refusal): boolean {
  const { status, code } = refusal
  return isBadToken(refusal) || status === 401 || code === 'RepoNotFound' || code === 'GatedRepo'
}

/** Whether refusals of the repo's other files say nothing about this target, and the other way round. */
function isOnItsOwn({ kind, target }: RefusalKey): boolean {
  return kind === 'file' && mayBeOutsideGate(target)
}

function repoName(fingerprint: string, { kind, repo }: RefusalKey): string {
  return `${fingerprint} ${kind} ${repoKey(repo)}`
}

function targetName(fingerprint: string, { kind, target }: RefusalKey): string {
  return `${fingerprint} ${kind} ${target}`
}
