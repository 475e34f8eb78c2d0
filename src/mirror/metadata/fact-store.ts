// The facts of the store as the metadata of one Hub: keys that name the Hub, reads and writes that cannot fail a request.

import {
  branchName,
  type CommitHash,
  parseRepoId,
  type Repo,
  repoKey,
  typeOfApiSegment,
} from '../../hub/names.ts'
import { parseHubUrl } from '../../hub/route.ts'
import type { FactKind, Facts } from '../../store/store.ts'

export interface FactStoreOptions {
  readonly facts: Facts
  /** Part of every key: facts of one Hub are not facts of another. */
  readonly origin: string
  /** Called with the error of every fact that could not be written or read. */
  readonly onWriteError: (error: unknown) => void
}

/**
 * Facts are written behind the response. A failed write costs one request to the Hub later, so no caller waits for it. A fact
 * that cannot be read counts as absent: the Hub is asked then.
 */
export class FactStore {
  readonly #options: FactStoreOptions

  constructor(options: FactStoreOptions) {
    this.#options = options
  }

  /** Undefined when there is no such fact, or it cannot be read. Never rejects. */
  async read(kind: FactKind, key: string): Promise<unknown> {
    const { facts, onWriteError } = this.#options
    try {
      return await facts.read(kind, key)
    } catch (error) {
      onWriteError(error)
      return undefined
    }
  }

  /** The fact as far as it is in memory. */
  peek(kind: FactKind, key: string): unknown {
    return this.#options.facts.peek(kind, key)
  }

  /** Resolves when the write has succeeded or failed. Never rejects. */
  write(kind: FactKind, key: string, value: unknown): Promise<void> {
    return this.#options.facts.write(kind, key, value).catch(this.#options.onWriteError)
  }

  /** Resolves when the removal has succeeded or failed. Never rejects. */
  remove(kind: 'documents', key: string): Promise<void> {
    return this.#options.facts.remove(kind, key).catch(this.#options.onWriteError)
  }

  repoKey(repo: Repo): string {
    return `${this.#options.origin} ${repoKey(repo)}`
  }

  /** The repo whose key this is, at this Hub. */
  repoOf(key: string): Repo | undefined {
    const prefix = `${this.#options.origin} `
    return key.startsWith(prefix) ? repoNamed(key.slice(prefix.length)) : undefined
  }

  refKey(repo: Repo, revision: string): string {
    return `${this.repoKey(repo)} ${JSON.stringify(branchName(revision))}`
  }

  /** Of the list of revision names. Keys of refs themselves end in a quote. */
  namesKey(repo: Repo): string {
    return `${this.repoKey(repo)} names`
  }

  fileKey(repo: Repo, commit: CommitHash, path: string): string {
    return `${this.repoKey(repo)} ${commit} ${JSON.stringify(path)}`
  }

  documentKey(name: string): string {
    return `${this.#options.origin} ${name}`
  }
}

/** The repo whose fact has this key, at any Hub: of a repo, a file, a ref, or a document about a repo. */
export function ownerOf(key: string): Repo | undefined {
  const [, first = '', second = ''] = key.split(' ', 3)
  if (first !== 'GET' && first !== 'POST') return repoNamed(first)
  try {
    return parseHubUrl(second, '/').repo
  } catch {
    return undefined
  }
}

/** The repo whose `repoKey` this is. */
function repoNamed(name: string): Repo | undefined {
  const slash = name.indexOf('/')
  const type = typeOfApiSegment(name.slice(0, slash))
  const id = parseRepoId(name.slice(slash + 1))
  return type === undefined || id === undefined ? undefined : { type, id }
}
