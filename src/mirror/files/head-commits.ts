// Which commit the HEADs of a branch have promised to which client. huggingface_hub stores what a GET returns under the commit that
// its HEAD named, so for a while both must mean the same commit, though the branch may have moved between them.

import { type CommitHash, isCommitHash, repoKey } from '../../hub/names.ts'
import type { FileRoute } from '../../hub/route.ts'
import { MemoryCache } from '../../memory.ts'
import type { ClientName } from '../context.ts'
import type { Invalidations } from '../invalidations.ts'
import type { Metadata } from '../metadata/metadata.ts'

/** How long a promise lives: a client sends the GET right after its HEAD, but may wait for a slot of its own. */
const PROMISE_MS = 60_000
/** Of each of the two tables. */
const PROMISES_BYTES = 12 * 1024 * 1024

/** What HEADs have promised about one branch, to whichever client. */
interface BranchPromises {
  readonly commit: CommitHash
  readonly at: number
  /** When another commit may have been promised for the last time. */
  readonly otherAt: number | undefined
}

export class HeadCommits {
  readonly #options: HeadCommitsOptions
  readonly #byClient = new MemoryCache<{ readonly commit: CommitHash; readonly at: number }>({
    maxBytes: PROMISES_BYTES,
  })
  // Evicted no sooner than the entries of clients that it stands for, whose keys are longer.
  readonly #byBranch = new MemoryCache<BranchPromises>({ maxBytes: PROMISES_BYTES })

  constructor(options: HeadCommitsOptions) {
    this.#options = options
  }

  /** The commit that a GET of this client means; undefined where no living promise binds it. */
  get(client: ClientName, route: FileRoute): CommitHash | undefined {
    if (isCommitHash(route.revision)) return undefined
    const promise = this.#byClient.get(clientKey(client, route))
    if (promise === undefined || !this.#isAlive(promise.at)) return undefined
    // A client that has just committed through the mirror reads its own commit.
    return this.#options.metadata.refs.changedSince(route.repo, promise.at) ? undefined : promise.commit
  }

  /** A HEAD answered at `at` has named this commit to this client. */
  set(client: ClientName, route: FileRoute, commit: CommitHash, at: number): void {
    const { repo, revision } = route
    if (isCommitHash(revision)) return
    this.#byClient.set(clientKey(client, route), { commit, at })
    const branch = branchKey(route)
    const before = this.#byBranch.get(branch)
    const isOther = before !== undefined && before.commit !== commit
    this.#byBranch.set(branch, { commit, at, otherAt: isOther ? at : before?.otherAt })
    // A cached response to a GET does not look here: none may contradict the new promise.
    if (before?.commit !== commit) this.#options.invalidations.invalidate(repo)
  }

  /** Whether a GET of the branch may be answered from `commit` for every client: no living promise names another. */
  allMayGet(route: FileRoute, commit: CommitHash): boolean {
    const promises = this.#byBranch.get(branchKey(route))
    if (promises === undefined) return true
    if (promises.otherAt !== undefined && this.#isAlive(promises.otherAt)) return false
    return promises.commit === commit || !this.#isAlive(promises.at)
  }

  #isAlive(at: number): boolean {
    return this.#options.monotonic() - at <= PROMISE_MS
  }
}

interface HeadCommitsOptions {
  readonly metadata: { readonly refs: Pick<Metadata['refs'], 'changedSince'> }
  readonly invalidations: Pick<Invalidations, 'invalidate'>
  readonly monotonic: () => number
}

function branchKey({ repo, revision }: FileRoute): string {
  return `${repoKey(repo)} ${revision}`
}

function clientKey({ address, fingerprint }: ClientName, { repo, revision, path }: FileRoute): string {
  return `${address} ${fingerprint} ${repoKey(repo)} ${revision} ${path}`
}
