// What the Hub says of a repo as a whole: whether it is public, what it is called, how it is licensed.

import { parseRepoId, type Repo, type RepoId } from '../../hub/names.ts'
import { MemoryCache, textBytes } from '../../memory.ts'
import { isRecord } from '../../records.ts'
import type { Facts } from '../../store/store.ts'
import type { FactStore } from './fact-store.ts'

/** What a repo is called and how it is licensed, as far as that is known. */
export interface RepoTraits {
  readonly name?: RepoId | undefined
  /** Lower case; empty when the repo names none. */
  readonly licence?: readonly string[] | undefined
}

const MEGABYTE = 1024 * 1024
/** Other names that are remembered of one repo. */
const MAX_OTHER_NAMES = 16

export class RepoMetadata {
  readonly #store: FactStore
  readonly #options: RepoMetadataOptions
  readonly #traits = new MemoryCache<RepoTraits>({
    maxBytes: 8 * MEGABYTE,
    sizeOf: ({ name, licence = [] }) => textBytes(name, ...licence),
  })
  // When the request was sent whose answer last named a repo.
  readonly #namedAt = new MemoryCache<number>({ maxBytes: 8 * MEGABYTE })
  // The other names that have led to a repo, by the name that it has.
  readonly #otherNames = new MemoryCache<readonly Repo[]>({
    maxBytes: 2 * MEGABYTE,
    sizeOf: (repos) => textBytes(...repos.map(({ id }) => id)),
  })
  #version = 0
  // Writes of "public" under way, by repo.
  readonly #publicWrites = new Map<string, Promise<void>>()

  constructor(store: FactStore, options: RepoMetadataOptions) {
    this.#store = store
    this.#options = options
  }

  /** Whether the Hub last said that the repo is public, however long ago. */
  async wasPublic(repo: Repo): Promise<boolean> {
    const stored = await this.#store.read('repos', this.#store.repoKey(repo))
    return isRecord(stored) && stored['public'] === true
  }

  /** Grows with each change of which repos are known to be public. */
  get version(): number {
    return this.#version
  }

  /** The repos that the Hub last called public. Those whose state changes meanwhile are there or are not. Never rejects. */
  async *listPublic(): AsyncGenerator<Repo> {
    const { facts, onWriteError } = this.#options
    try {
      for await (const { key, value } of facts.list('repos')) {
        const repo = isRecord(value) && value['public'] === true ? this.#store.repoOf(key) : undefined
        if (repo !== undefined) yield repo
      }
    } catch (error) {
      onWriteError(error)
    }
  }

  /** Saves whether the repo is public, in the order of the calls: the last call wins. Resolves when it is on the disk, or failed. */
  async setPublic(repo: Repo, value: boolean): Promise<void> {
    // Awaited: after a withdrawal nothing may be served because of the old fact.
    await this.#savePublic(repo, value).catch(this.#options.onWriteError)
  }

  /** As `setPublic` with true, but rejects with the error of the disk. */
  publish(repo: Repo): Promise<void> {
    return this.#savePublic(repo, true)
  }

  async #savePublic(repo: Repo, value: boolean): Promise<void> {
    const key = this.#store.repoKey(repo)
    const before = this.#publicWrites.get(key) ?? Promise.resolve()
    const write = before.then(() => this.#writePublic(key, value))
    const settled = write.catch(() => undefined)
    this.#publicWrites.set(key, settled)
    await settled
    if (this.#publicWrites.get(key) === settled) this.#publicWrites.delete(key)
    await write
  }

  async #writePublic(key: string, value: boolean): Promise<void> {
    const { facts } = this.#options
    // A fact that cannot be read may still be there: a withdrawal removes it unseen.
    const stored = await facts.read('repos', key).catch(() => (value ? undefined : { public: true }))
    const fact = value ? { public: true, ...this.#traits.get(key) } : undefined
    if ((isRecord(stored) && stored['public'] === true) === value) {
      if (fact === undefined || JSON.stringify(stored) === JSON.stringify(fact)) return
    }
    try {
      if (fact !== undefined) await facts.write('repos', key, fact)
      else await facts.remove('repos', key)
    } finally {
      this.#version += 1
    }
  }

  /** What the Hub last said to this process, else what the disk holds of a public repo. */
  async traits(repo: Repo): Promise<RepoTraits> {
    const key = this.#store.repoKey(repo)
    const inMemory = this.#traits.get(key)
    if (inMemory !== undefined) return inMemory
    const stored = parseTraits(await this.#store.read('repos', key))
    this.#noteName(repo, stored.name)
    this.#traits.set(key, stored)
    return stored
  }

  /** The same, if it is in memory. */
  traitsInMemory(repo: Repo): RepoTraits | undefined {
    return this.#traits.get(this.#store.repoKey(repo))
  }

  /**
   * The Hub reported these traits in answer to a request that was sent at `askedAt`. Traits that it left out stay as they were.
   * They reach the disk with the next `setPublic`.
   */
  setTraits(repo: Repo, traits: RepoTraits, askedAt: number): void {
    const key = this.#store.repoKey(repo)
    const before = this.#traits.get(key)
    // A late answer to an early request must not undo a later one.
    const isNamed = traits.name !== undefined && askedAt >= (this.#namedAt.get(key) ?? askedAt)
    if (isNamed) this.#namedAt.set(key, askedAt)
    const name = isNamed ? traits.name : before?.name
    const licence = traits.licence ?? before?.licence
    this.#noteName(repo, name)
    this.#traits.set(key, {
      ...(name === undefined ? {} : { name }),
      ...(licence === undefined ? {} : { licence }),
    })
  }

  /** What was stored may be gone: the disk counts until the Hub is asked. */
  forget(): void {
    this.#traits.clear()
    this.#namedAt.clear()
    this.#version += 1
  }

  /** The name that the Hub has reported for the repo, if it is in memory. */
  nameInMemory(repo: Repo): RepoId | undefined {
    return this.traitsInMemory(repo)?.name
  }

  /**
   * The repo by every name that this process knows for it, each once: what happens to it by one name happens to it by all. Names
   * that were used long ago may be forgotten.
   */
  byEveryName(repo: Repo): readonly Repo[] {
    const own = { type: repo.type, id: this.nameInMemory(repo) ?? repo.id }
    const all = [repo, own, ...(this.#otherNames.get(this.#store.repoKey(own)) ?? [])]
    return [...new Map(all.map((named) => [named.id, named])).values()]
  }

  #noteName(repo: Repo, name: RepoId | undefined): void {
    if (name === undefined || name === repo.id) return
    const key = this.#store.repoKey({ type: repo.type, id: name })
    const others = this.#otherNames.get(key) ?? []
    if (others.some(({ id }) => id === repo.id)) return
    this.#otherNames.set(key, [repo, ...others].slice(0, MAX_OTHER_NAMES))
  }

  /** A write may have renamed the repo: what it was called is not trusted without asking. */
  nameMayHaveChanged(repo: Repo): void {
    this.#namedAt.delete(this.#store.repoKey(repo))
  }

  /** Whether the Hub has named the repo within the last `ttlMs`, and no write may have renamed it since. */
  isNameFresh(repo: Repo, ttlMs: number): boolean {
    const at = this.#namedAt.get(this.#store.repoKey(repo))
    return at !== undefined && this.#options.monotonic() - at < ttlMs
  }
}

interface RepoMetadataOptions {
  readonly facts: Facts
  readonly monotonic: () => number
  readonly onWriteError: (error: unknown) => void
}

function parseTraits(value: unknown): RepoTraits {
  if (!isRecord(value)) return {}
  const { name, licence } = value
  const id = typeof name === 'string' ? parseRepoId(name) : undefined
  return {
    ...(id === undefined ? {} : { name: id }),
    ...(Array.isArray(licence) ? { licence: licence.filter((item) => typeof item === 'string') } : {}),
  }
}
