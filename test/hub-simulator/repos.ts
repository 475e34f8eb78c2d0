// The world behind the simulator: users, their tokens, and repos with real Git history, all in memory.
// A test builds it before the start and may flip any of it while requests run. Knows nothing of HTTP.

import { createHash } from 'node:crypto'
import { type Content, fromBytes, type GeneratedOptions, generated, readContent } from './content.ts'
import { blobId, commitId, pointerText, treeIds } from './git-objects.ts'

export type RepoType = 'models' | 'datasets' | 'spaces' | 'kernels'
export type Role = 'read' | 'write' | 'fineGrained'

/** A token of a user. A fine-grained one opens only `repos`, and only for reading. */
export interface Token {
  readonly value: string
  readonly user: string
  readonly role: Role
  readonly repos: readonly string[]
}

/** A user with an account. Members of an organisation own its repos. */
export interface User {
  readonly name: string
  readonly orgs: readonly string[]
}

export interface UserOptions {
  readonly token: string
  readonly role?: Role
  readonly orgs?: readonly string[]
  readonly repos?: readonly string[]
}

/** One file at one commit. `oid` is what Git sees: of an LFS file, the id of its pointer. */
export interface FileEntry {
  readonly path: string
  readonly content: Content
  readonly oid: string
  readonly lfs?: { readonly sha256: string; readonly pointer: string; readonly xetHash: string }
}

export interface Commit {
  readonly id: string
  readonly parent: string | undefined
  readonly message: string
  readonly atMs: number
  readonly files: ReadonlyMap<string, FileEntry>
  /** Directory path to tree id; the root is `''`. */
  readonly trees: ReadonlyMap<string, string>
}

/** A file that goes to LFS, as `lfs()` marks it. */
export interface LfsFile {
  readonly lfs: Content
}

/** What a commit does to a path: new content, or `null` to delete it (a path that ends in `/` is a folder). */
export type Change = string | Uint8Array | LfsFile | null

/** Marks a file for LFS: bytes, or content generated from a seed (see `generated`). */
export function lfs(source: string | Uint8Array | GeneratedOptions): LfsFile {
  return {
    lfs: typeof source === 'string' || source instanceof Uint8Array ? fromBytes(source) : generated(source),
  }
}

/** The bytes of a file at a revision, for assertions. Throws when there is no such revision or file. */
export function bytesOf(repo: Repo, revision: string, path: string, start?: number, end?: number): Buffer {
  const file = repo.resolve(revision)?.files.get(path)
  if (file === undefined) throw new Error(`${repo.id} has no ${path} at ${revision}`)
  return readContent(file.content, start, end)
}

/** The SHA-256 of a file in lower-case hex; that of generated content is computed once in a process. */
export function sha256Of(repo: Repo, revision: string, path: string): string {
  const file = repo.resolve(revision)?.files.get(path)
  if (file === undefined) throw new Error(`${repo.id} has no ${path} at ${revision}`)
  return file.content.sha256()
}

const AUTHOR = 'Simulator <hub@simulator.invalid>'
const FIRST_COMMIT_SECONDS = 1_767_225_600
const COMMIT_PATTERN = /^[0-9a-f]{40}$/

/** One repo and its builder: every method that returns `this` may also be called while the server runs. */
export class Repo {
  readonly type: RepoType
  readonly objectId: string
  readonly world: World
  readonly commits = new Map<string, Commit>()
  /** Full ref name (`refs/heads/main`, `refs/tags/v1`, `refs/pr/1`) to commit. */
  readonly refs = new Map<string, string>()
  id: string
  isPrivate = false
  gate: 'auto' | 'manual' | false = false
  isDisabled = false
  /** As the card names them; the Hub repeats them as tags. */
  licences: readonly string[] = []
  downloads = 0
  likes = 0
  isDeleted = false
  /** Who may read while the repo is private, and who has been let through the gate. */
  readers = new Set<string>()
  approved = new Set<string>()

  constructor(world: World, type: RepoType, id: string) {
    this.world = world
    this.type = type
    this.id = id
    this.objectId = createHash('sha256').update(`${type}/${id}`).digest('hex').slice(0, 24)
  }

  private(users: readonly string[] = []): this {
    this.isPrivate = true
    this.readers = new Set(users)
    return this
  }

  makePrivate(users: readonly string[] = []): this {
    return this.private(users)
  }

  gated(mode: 'auto' | 'manual' = 'auto', approved: readonly string[] = []): this {
    this.gate = mode
    this.approved = new Set(approved)
    return this
  }

  /** The same as `gated`, in the words of a test that closes the gate while a pull runs. */
  closeGate(approved: readonly string[] = []): this {
    return this.gated(this.gate === false ? 'manual' : this.gate, approved)
  }

  licensed(...licences: readonly string[]): this {
    this.licences = licences
    return this
  }

  liked({ downloads, likes }: { readonly downloads: number; readonly likes: number }): this {
    this.downloads = downloads
    this.likes = likes
    return this
  }

  disabled(): this {
    this.isDisabled = true
    return this
  }

  /** Public, ungated, enabled, present. */
  open(): this {
    this.isPrivate = false
    this.gate = false
    this.isDisabled = false
    this.isDeleted = false
    return this
  }

  delete(): this {
    this.isDeleted = true
    return this
  }

  /** Moves the repo; the old id redirects from now on. */
  renamedTo(id: string): this {
    this.world.rename(this, id)
    return this
  }

  /** For a one-segment id: the two-segment id to which /api redirects. */
  canonical(id: string): this {
    this.world.reindex(this, id)
    return this
  }

  /** Applies the changes on top of a branch (created when missing) and returns the commit id. */
  commit(
    changes: Readonly<Record<string, Change>>,
    options: { readonly branch?: string; readonly message?: string; readonly parent?: string } = {},
  ): string {
    const ref = refName(options.branch ?? 'main')
    const parent = options.parent ?? this.refs.get(ref)
    const files = new Map(parent === undefined ? [] : this.commits.get(parent)?.files)
    for (const [path, change] of Object.entries(changes)) {
      if (change !== null) files.set(path, this.#entry(path, change))
      else if (path.endsWith('/')) {
        for (const known of files.keys()) if (known.startsWith(path)) files.delete(known)
      } else files.delete(path)
    }
    const trees = treeIds(files)
    const message = options.message ?? `Commit ${this.commits.size + 1}`
    const atSeconds = FIRST_COMMIT_SECONDS + this.commits.size * 60
    const id = commitId({
      treeId: trees.get('') ?? '',
      parents: parent === undefined ? [] : [parent],
      author: AUTHOR,
      atSeconds,
      message,
    })
    this.commits.set(id, { id, parent, message, atMs: atSeconds * 1000, files, trees })
    this.refs.set(ref, id)
    return id
  }

  /** Takes over a commit that was pushed, with the id that git has given it. `files` are all its files. Moves no ref. */
  adopt(
    commit: Pick<Commit, 'id' | 'parent' | 'message' | 'atMs'>,
    files: Readonly<Record<string, Change>>,
  ): void {
    const entries = Object.entries(files).flatMap(([path, change]) =>
      change === null ? [] : [[path, this.#entry(path, change)] as const],
    )
    const all = new Map(entries)
    this.commits.set(commit.id, { ...commit, files: all, trees: treeIds(all) })
  }

  branch(name: string, commit: string): this {
    return this.ref(`refs/heads/${name}`, commit)
  }

  tag(name: string, commit: string): this {
    return this.ref(`refs/tags/${name}`, commit)
  }

  /** Sets or moves any ref. Throws when the commit is not of this repo. */
  ref(name: string, commit: string): this {
    if (!this.commits.has(commit)) throw new Error(`${this.id} has no commit ${commit}`)
    this.refs.set(name, commit)
    return this
  }

  /** The commit that a revision names, as the Hub reads it: HEAD, branch, tag, special ref, or full commit id. */
  resolve(revision: string): Commit | undefined {
    const id =
      (revision === 'HEAD' ? this.refs.get('refs/heads/main') : undefined) ??
      this.refs.get(`refs/heads/${revision}`) ??
      this.refs.get(`refs/tags/${revision}`) ??
      (revision.startsWith('refs/') ? this.refs.get(revision) : undefined) ??
      (COMMIT_PATTERN.test(revision) ? revision : undefined)
    return id === undefined ? undefined : this.commits.get(id)
  }

  #entry(path: string, change: string | Uint8Array | LfsFile): FileEntry {
    if (typeof change === 'string' || change instanceof Uint8Array) {
      const content = fromBytes(change)
      return { path, content, oid: blobId(content) }
    }
    const content = change.lfs
    const sha256 = content.sha256()
    const pointer = pointerText(sha256, content.sizeBytes)
    const xetHash = createHash('sha256').update(`xet ${sha256}`).digest('hex')
    this.world.rememberLfs(this, sha256, xetHash, content)
    return { path, content, oid: blobId(fromBytes(pointer)), lfs: { sha256, pointer, xetHash } }
  }
}

/** How a name led to a repo; anything but `exact` is answered by a redirect on some routes. */
export interface Found {
  readonly repo: Repo
  readonly how: 'exact' | 'renamed' | 'legacy'
}

/** Everything the simulated Hub knows. One world may outlive many servers. */
export class World {
  readonly users = new Map<string, User>()
  readonly tokens = new Map<string, Token>()
  /** LFS objects that were uploaded or committed, by sha256. */
  readonly lfsObjects = new Map<string, Content>()
  readonly #repos = new Map<string, Repo>()
  readonly #aliases = new Map<string, { readonly repo: Repo; readonly how: 'renamed' | 'legacy' }>()
  readonly #cdnObjects = new Map<string, Content>()

  /** Adds a user with a first token. The role of the token defaults to `read`. */
  addUser(name: string, options: UserOptions): this {
    this.users.set(name, { name, orgs: options.orgs ?? [] })
    return this.addToken(name, options)
  }

  addToken(user: string, options: Omit<UserOptions, 'orgs'>): this {
    this.tokens.set(options.token, {
      value: options.token,
      user,
      role: options.role ?? 'read',
      repos: options.repos ?? [],
    })
    return this
  }

  revokeToken(token: string): this {
    this.tokens.delete(token)
    return this
  }

  model(id: string): Repo {
    return this.repo('models', id)
  }

  dataset(id: string): Repo {
    return this.repo('datasets', id)
  }

  space(id: string): Repo {
    return this.repo('spaces', id)
  }

  kernel(id: string): Repo {
    return this.repo('kernels', id)
  }

  /** The repo of that name, made on first use. A one-segment id gets the canonical id `{id}-community/{id}`. */
  repo(type: RepoType, id: string): Repo {
    const found = this.find(type, id)
    if (found !== undefined && found.how !== 'renamed') return found.repo
    const isLegacy = !id.includes('/')
    const repo = new Repo(this, type, isLegacy ? `${id}-community/${id}` : id)
    this.#repos.set(key(type, repo.id), repo)
    if (isLegacy) this.#aliases.set(key(type, id), { repo, how: 'legacy' })
    return repo
  }

  /** Looks a name up as the Hub does: old names and other upper or lower case lead to the repo, too. */
  find(type: RepoType, id: string): Found | undefined {
    const name = key(type, id)
    const repo = this.#repos.get(name)
    if (repo !== undefined)
      return repo.isDeleted ? undefined : { repo, how: repo.id === id ? 'exact' : 'renamed' }
    const alias = this.#aliases.get(name)
    return alias === undefined || alias.repo.isDeleted ? undefined : alias
  }

  /** All repos of a type that are not deleted, by id. */
  list(type: RepoType): Repo[] {
    return [...this.#repos.values()]
      .filter((repo) => repo.type === type && !repo.isDeleted)
      .sort((left, right) => (left.id < right.id ? -1 : 1))
  }

  rename(repo: Repo, id: string): void {
    this.#aliases.set(key(repo.type, repo.id), { repo, how: 'renamed' })
    this.reindex(repo, id)
  }

  reindex(repo: Repo, id: string): void {
    this.#repos.delete(key(repo.type, repo.id))
    repo.id = id
    this.#aliases.delete(key(repo.type, id))
    this.#repos.set(key(repo.type, id), repo)
  }

  rememberLfs(repo: Repo, sha256: string, xetHash: string, content: Content): void {
    this.lfsObjects.set(sha256, content)
    this.#cdnObjects.set(`${repo.objectId}/${xetHash}`, content)
  }

  /** The content behind a CDN path (`{repo object id}/{xet hash}`). */
  cdnObject(path: string): Content | undefined {
    return this.#cdnObjects.get(path)
  }
}

/** `main` is short for `refs/heads/main`; full names stay. */
export function refName(branch: string): string {
  return branch.startsWith('refs/') ? branch : `refs/heads/${branch}`
}

function key(type: RepoType, id: string): string {
  return `${type}/${id.toLowerCase()}`
}
