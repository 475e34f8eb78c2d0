// What the Hub refused, to whom, a moment ago: said again without asking, so that a storm of refused requests costs
// one question. Memory only, and short: a right that was just given must not be waited for. It knows no verdicts.

import { mayBeOutsideGate } from '../../hub/gate.ts'
import { type Repo, repoKey } from '../../hub/names.ts'
import { isBadToken, type Refusal } from '../../hub/refusal.ts'
import { MemoryCache, textBytes } from '../../memory.ts'
import type { Metadata } from '../metadata/metadata.ts'
import type { Access } from './access.ts'

/** A "no" lives this much shorter than a "yes". */
const SHORTER = 10
const LONGEST_MS = 5_000
/** No refusal of the Hub is longer; another origin's page is not kept. */
const MAX_BODY_BYTES = 8 * 1024

export interface RememberedRefusal {
  readonly refusal: Refusal
  readonly headers: Readonly<Record<string, string>>
  /** When the question was asked. */
  readonly at: number
}

/** Files and documents are refused in other forms, and of a gated repo only files are. */
export type RefusalKey = { readonly kind: 'file' | 'document'; readonly repo: Repo; readonly target: string }

export class Refusals {
  readonly #settings: { readonly accessTtlMs: number }
  readonly #monotonic: () => number
  readonly #refusals = new MemoryCache<RememberedRefusal>({ maxBytes: 8 * 1024 * 1024, sizeOf })
  // When a write of this credential was accepted: what it may read may be another since.
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

  set(fingerprint: string, asked: RefusalKey, remembered: RememberedRefusal): void {
    if (this.#lifeMs === 0 || remembered.refusal.body.length > MAX_BODY_BYTES) return
    const isAll = isOfWholeRepo(remembered.refusal) && !isOnItsOwn(asked)
    const { refusal } = remembered
    // A copy: the body may be a small part of a buffer that many answers share.
    const kept = { ...remembered, refusal: { ...refusal, body: copyOf(refusal.body) } }
    this.#refusals.set(isAll ? repoName(fingerprint, asked) : targetName(fingerprint, asked), kept)
  }

  /** What the Hub said to this credential of this, if that is not too long ago. */
  get(fingerprint: string, asked: RefusalKey): RememberedRefusal | undefined {
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

  /** A write of this credential was accepted: it may have made the repo that was missing a moment ago. */
  invalidate(fingerprint: string): void {
    this.#writes.set(fingerprint, this.#monotonic())
  }
}

function sizeOf({ refusal, headers }: RememberedRefusal): number {
  const texts = Object.values({ ...refusal, ...headers }).filter((value) => typeof value === 'string')
  return 500 + refusal.body.length + textBytes(...texts)
}

function copyOf(bytes: Buffer): Buffer {
  const copy = Buffer.alloc(bytes.length)
  bytes.copy(copy)
  return copy
}

/** Whether something has happened since that may have ended it: a write to the repo, or the proof that all may read it. */
export function isOver(
  { refusal, at }: RememberedRefusal,
  repo: Repo,
  beliefs: { readonly metadata: Metadata; readonly access: Access },
): boolean {
  if (beliefs.metadata.refs.changedSince(repo, at)) return true
  return !isBadToken(refusal) && beliefs.access.isPublicSince(repo, at)
}

/** Whether the refusal is about the repo or the token, not about what was asked for in it: another Hub may have rules. */
function isOfWholeRepo(refusal: Refusal): boolean {
  const { status, code } = refusal
  return isBadToken(refusal) || status === 401 || code === 'RepoNotFound' || code === 'GatedRepo'
}

/** Whether a refusal of the repo's files says nothing about this one, and one of this nothing about the others. */
function isOnItsOwn({ kind, target }: RefusalKey): boolean {
  return kind === 'file' && mayBeOutsideGate(target)
}

function repoName(fingerprint: string, { kind, repo }: RefusalKey): string {
  return `${fingerprint} ${kind} ${repoKey(repo)}`
}

function targetName(fingerprint: string, { kind, target }: RefusalKey): string {
  return `${fingerprint} ${kind} ${target}`
}
