// What the git repositories that are kept for clones say of files: where branches and tags are, which files a commit has, and the
// bytes of those that are not in Git LFS. Used while the Hub cannot be asked, for what no other stored answer says. Who may
// see it is decided before.

import { MirrorError } from '../errors.ts'
import type { GitEntry, GitFiles } from '../git/files.ts'
import type { Git } from '../git/git.ts'
import type { ByteRange } from '../http/range.ts'
import { type LfsPointer, readLfsPointer } from '../hub/lfs-batch.ts'
import { type CommitHash, type Repo, repoKey } from '../hub/names.ts'
import type { GitStore, OpenGit } from '../store/git/git-repos.ts'
import type { TreeItem } from './documents/compose.ts'
import { SingleFlight } from './single-flight.ts'

export interface ClonedFilesOptions {
  readonly git: Pick<Git, 'isThere' | 'present'>
  readonly files: GitFiles
  readonly store: Pick<GitStore, 'open'>
  /** Whether repositories are kept. */
  readonly isOn: boolean
  /** The prefix of an owner in the store, as in facts. */
  readonly origin: string
  /** A repository could not be read. */
  readonly onTrouble: (repo: string, error: unknown) => void
}

/** A branch or a tag as the Hub lists it. */
interface ListedRef {
  readonly name: string
  readonly ref: string
  readonly targetCommit: string
}

/** A commit as the Hub lists it. */
interface ListedCommit {
  readonly id: string
  readonly title: string
  readonly message: string
  readonly date: string
  readonly authors: readonly { readonly user: string }[]
}

/** Processes of git that answer questions at the same time, at the pace of this machine. Further questions wait. */
const QUESTIONS = 8
/** Processes of git that send large blobs at the same time, at the pace of their clients. No question waits behind them. */
const LARGE_BLOBS = 8
/** How long a client waits for its turn to get a large blob. */
const TURN_MS = 20_000
/** Up to this size a blob is read in one piece, which its client takes in its own time. Most configurations are smaller. */
const SMALL_BYTES = 256 * 1024
/** The pointers of Git LFS objects have 127 bytes and up, one for each digit of the size. */
const POINTER_BYTES = { min: 120, max: 200 }

export class ClonedFiles {
  readonly #options: ClonedFilesOptions
  readonly #closing = new AbortController()
  readonly #lists = new SingleFlight<readonly TreeItem[] | undefined>()
  readonly #questions = new Places(QUESTIONS)
  readonly #largeBlobs = new Places(LARGE_BLOBS)

  constructor(options: ClonedFilesOptions) {
    this.#options = options
  }

  /** The branches and tags of the repo, as in the Hub's list of refs. Undefined when no repository of it is kept. Never rejects. */
  async refs(
    repo: Repo,
  ): Promise<{ readonly branches: readonly ListedRef[]; readonly tags: readonly ListedRef[] } | undefined> {
    const refs = await this.#read(repo, ({ directory }) =>
      this.#options.files.refs(directory, this.#closing.signal),
    )
    const named = (prefix: string): ListedRef[] =>
      (refs ?? [])
        .filter(({ ref }) => ref.startsWith(prefix))
        .map(({ ref, commit }) => ({ name: ref.slice(prefix.length), ref, targetCommit: commit }))
    return refs && { branches: named('refs/heads/'), tags: named('refs/tags/') }
  }

  /**
   * The files and directories of a commit as the Hub lists them, recursively, by path. Undefined when no repository with that commit
   * is kept. Never rejects.
   */
  items(repo: Repo, commit: CommitHash): Promise<readonly TreeItem[] | undefined> {
    return this.#lists.run(`${repoKey(repo)} ${commit}`, () =>
      this.#read(repo, ({ directory }) => this.#items(directory, commit)),
    )
  }

  /**
   * Commits from this one back, as the Hub lists them, and how many there are in all. Authors have the names that git has of them.
   * Undefined when no repository with that commit is kept. Never rejects.
   */
  async commits(
    repo: Repo,
    commit: CommitHash,
    page: { readonly skip: number; readonly count: number },
  ): Promise<{ readonly items: readonly ListedCommit[]; readonly total: number } | undefined> {
    const { files } = this.#options
    const { signal } = this.#closing
    const found = await this.#read(repo, async ({ directory }) =>
      (await files.hasCommit(directory, commit, signal))
        ? files.log(directory, commit, page, signal)
        : undefined,
    )
    if (found === undefined) return undefined
    const items = found.commits.map(({ author, date, ...rest }) => ({
      ...rest,
      date: new Date(date).toISOString(),
      authors: [{ user: author }],
    }))
    return { items, total: found.total }
  }

  /** Whether the kept repository has the blob with this id. Never rejects. */
  async has(repo: Repo, id: string): Promise<boolean> {
    const present = await this.#read(repo, ({ directory }) =>
      this.#options.git.present(directory, [id], this.#closing.signal),
    )
    return present?.has(id) === true
  }

  /**
   * The bytes of `range` of a blob of this size. Throws MirrorError when the repository is gone or damaged, in the course of it also,
   * and when too many clients read large blobs. Git ends with the iteration.
   */
  async *read(
    repo: Repo,
    { id, sizeBytes }: { readonly id: string; readonly sizeBytes: number },
    range: ByteRange,
    signal: AbortSignal,
  ): AsyncGenerator<Buffer, void, undefined> {
    if (sizeBytes <= SMALL_BYTES) {
      const bytes = await this.#read(repo, ({ directory }) =>
        this.#options.files.blobs(directory, [id], sizeBytes, this.#closing.signal),
      )
      if (bytes === undefined) throw unusable(undefined)
      yield* within(bytes, range)
      return
    }
    const end = await this.#largeBlobs.take(AbortSignal.any([signal, AbortSignal.timeout(TURN_MS)]))
    if (end === undefined) throw new MirrorError('overloaded')
    try {
      const opened = await this.#open(repo)
      if (opened === undefined) throw new Error('the repository has been removed')
      try {
        yield* within(this.#options.files.blob(opened.directory, id, signal), range)
      } finally {
        opened.release()
      }
    } catch (error) {
      if (signal.aborted) throw error
      this.#options.onTrouble(repoKey(repo), error)
      throw unusable(error)
    } finally {
      end()
    }
  }

  /** Ends all reading for which no client waits. */
  close(): void {
    this.#closing.abort(new Error('the mirror stops'))
  }

  async #items(directory: string, commit: CommitHash): Promise<readonly TreeItem[] | undefined> {
    const { files } = this.#options
    if (!(await files.hasCommit(directory, commit, this.#closing.signal))) return undefined
    const entries = await files.tree(directory, commit, this.#closing.signal)
    const small = entries.filter(
      ({ type, sizeBytes }) =>
        type === 'blob' && sizeBytes >= POINTER_BYTES.min && sizeBytes <= POINTER_BYTES.max,
    )
    const ids = small.map(({ id }) => id)
    const bytes = await files.blobs(directory, ids, ids.length * POINTER_BYTES.max, this.#closing.signal)
    const pointers = new Map(ids.map((id, index) => [id, readLfsPointer(bytes[index]?.toString() ?? '')]))
    return entries
      .map((entry) => itemOf(entry, pointers.get(entry.id)))
      .sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0))
  }

  async #read<T>(repo: Repo, read: (opened: OpenGit) => Promise<T | undefined>): Promise<T | undefined> {
    const end = await this.#questions.take(this.#closing.signal)
    if (end === undefined) return undefined
    try {
      const opened = await this.#open(repo)
      if (opened === undefined) return undefined
      return await read(opened).finally(opened.release)
    } catch (error) {
      if (!this.#closing.signal.aborted) this.#options.onTrouble(repoKey(repo), error)
      return undefined
    } finally {
      end()
    }
  }

  async #open(repo: Repo): Promise<OpenGit | undefined> {
    const { git, store, isOn, origin } = this.#options
    if (!isOn || !(await git.isThere())) return undefined
    return store.open(`${origin} ${repoKey(repo)}`)
  }
}

/** So many may do something at the same time. The others wait, and take their turns in the order in which they came. */
class Places {
  readonly #waiting = new Set<() => void>()
  #free: number

  constructor(count: number) {
    this.#free = count
  }

  /** Returns a function that gives the place back, to be called once. Undefined when `signal` aborts before there is a place. */
  async take(signal: AbortSignal): Promise<(() => void) | undefined> {
    if (signal.aborted) return undefined
    if (this.#free > 0) this.#free -= 1
    else if (!(await this.#turn(signal))) return undefined
    return () => {
      const [next] = this.#waiting
      // The next one takes over the place.
      if (next === undefined) this.#free += 1
      else next()
    }
  }

  #turn(signal: AbortSignal): Promise<boolean> {
    return new Promise((resolve) => {
      const settle = (isOn: boolean) => () => {
        this.#waiting.delete(go)
        signal.removeEventListener('abort', leave)
        resolve(isOn)
      }
      const [go, leave] = [settle(true), settle(false)]
      this.#waiting.add(go)
      signal.addEventListener('abort', leave, { once: true })
    })
  }
}

const UNUSABLE =
  'The mirror cannot read this file from its stored copy of the repo, and the Hub cannot be asked now. Try again later.'

function unusable(cause: unknown): MirrorError {
  return new MirrorError('origin_unreachable', { message: UNUSABLE, cause })
}

function itemOf({ type, id, sizeBytes, path }: GitEntry, pointer: LfsPointer | undefined): TreeItem {
  if (type === 'tree') return { type: 'directory', oid: id, size: 0, path }
  if (pointer === undefined) return { type: 'file', oid: id, size: sizeBytes, path }
  const { oid, size } = pointer
  return { type: 'file', oid: id, size, path, lfs: { oid, size, pointerSize: sizeBytes } }
}

/** The bytes of `range` of the chunks. */
async function* within(
  chunks: AsyncIterable<Buffer> | Iterable<Buffer>,
  { start, end }: ByteRange,
): AsyncGenerator<Buffer, void, undefined> {
  let position = 0
  for await (const chunk of chunks) {
    const part = chunk.subarray(Math.max(0, start - position), Math.max(0, end - position))
    position += chunk.length
    if (part.length > 0) yield part
    if (position >= end) return
  }
  throw new Error('the blob is shorter than its tree says')
}
