// The bare git repositories of the store: git/<ab>/<sha256 of the owner>/, each with a file that says whose it is. One in its place is
// whole, and nothing writes to it: a newer state is made in tmp/, from hard links to the packs of the older one, and takes its place.
// The ledger counts and evicts them like blobs. Runs no git.

import { createHash, randomBytes } from 'node:crypto'
import { copyFile, link, lstat, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { parseRecord } from '../../records.ts'
import { errorCode, ifThere, isMissing, makeDirectory, renameInto } from '../atomic.ts'
import type { Layout } from '../layout.ts'
import type { Ledger, Reservation } from '../ledger.ts'

const PREFIX = 'git:'
/** The largest repository that is kept. It holds no LFS objects, so few repos of the Hub come near. */
const MAX_REPO_BYTES = 512 * 1024 * 1024
/** Room is promised in steps of this. */
const STEP_BYTES = 4 * 1024 * 1024
/** Each fetch that brings something adds a pack. Above this number the next fetch begins from nothing. */
const MAX_PACKS = 20
/** What git needs to take a folder for a bare repository. */
const CONFIG = '[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n'
const HEAD = 'ref: refs/heads/main\n'
const PACK_FILE = /^pack-[0-9a-f]{40,64}\.(?:pack|idx|rev)$/
const NOTE = 'hubmirror.json'

/** A repository as it lies in the store. */
export interface StoredGit {
  /** `<origin> <repo>`, as in facts. */
  readonly owner: string
  readonly directory: string
  readonly sizeBytes: number
  readonly usedAt: number
}

/** A repository that is open for reading: it is not evicted before `release` is called. */
export interface OpenGit {
  readonly directory: string
  readonly release: () => void
}

/** A repository that is being made or brought up to date. The caller ends it by `commit` or `discard`. */
export interface GitDraft {
  readonly directory: string
  /** Counts what has been written. False when there is no room for it, or it is larger than any repository may be. */
  grow(): Promise<boolean>
  /** Whether it differs from the older one. Rejects with the error of the disk. */
  isNew(): Promise<boolean>
  /**
   * Puts it in its place, unless nothing has changed, or the older one is being read. Resolves with whether it has. Rejects with the
   * error of the disk.
   */
  commit(): Promise<boolean>
  /** Removes it. Never rejects. Does nothing after `commit`. */
  discard(): Promise<void>
}

/** The part of the store that the mirror uses. */
export interface GitStore {
  readonly readOnly: boolean
  /** Opens the repository of `owner`. Undefined when there is none. Rejects with the error of the disk. */
  open(owner: string): Promise<OpenGit | undefined>
  /** Begins a newer state. One at a time for each owner. Undefined when there is no room. Rejects with the error of the disk. */
  begin(owner: string): Promise<GitDraft | undefined>
  /** Removes the repository, also from under a reader. Rejects with the error of the disk. */
  remove(owner: string): Promise<void>
}

/** Whether a name in the ledger stands for a repository. */
export function isGitName(name: string): boolean {
  return name.startsWith(PREFIX)
}

export class DiskGitRepos implements GitStore {
  readonly readOnly: boolean
  readonly #layout: Layout
  readonly #ledger: Ledger

  constructor(layout: Layout, ledger: Ledger, { readOnly }: { readonly readOnly: boolean }) {
    this.#layout = layout
    this.#ledger = ledger
    this.readOnly = readOnly
  }

  async open(owner: string): Promise<OpenGit | undefined> {
    const name = nameOf(owner)
    const directory = directoryOf(this.#layout, name)
    const release = this.#ledger.pin(name)
    if ((await ifThere(lstat(path.join(directory, NOTE)))) === undefined) {
      release()
      // It may have been removed beside the mirror.
      this.#ledger.drop(name)
      return undefined
    }
    await this.#used(name)
    return { directory, release }
  }

  /** Another process has removed the repository of `owner`: it leaves the ledger, unless there is one. Rejects with the error of the disk. */
  async lookAgain(owner: string): Promise<void> {
    ;(await this.open(owner))?.release()
  }

  async #used(name: string): Promise<void> {
    if (this.#ledger.touch(name) !== 'due' || this.readOnly) return
    const now = new Date()
    await utimes(path.join(directoryOf(this.#layout, name), NOTE), now, now).catch(() => undefined)
  }

  async begin(owner: string): Promise<GitDraft | undefined> {
    await this.#used(nameOf(owner))
    const room = await this.#ledger.reserve(STEP_BYTES)
    if (room === undefined) return undefined
    const directory = path.join(this.#layout.tmp, randomBytes(12).toString('hex'))
    const draft = new Draft({ owner, directory, layout: this.#layout, ledger: this.#ledger, room })
    try {
      await draft.fill()
      return draft
    } catch (error) {
      await draft.discard()
      throw error
    }
  }

  async remove(owner: string): Promise<void> {
    const name = nameOf(owner)
    if (this.readOnly) return
    await this.removeNamed(name)
    this.#ledger.drop(name)
  }

  /** Removes the files of an entry of the ledger. */
  async removeNamed(name: string): Promise<void> {
    await removeAtOnce(this.#layout, directoryOf(this.#layout, name))
  }

  /** What earlier processes have left, for the ledger. */
  async *scan(): AsyncGenerator<{
    readonly name: string
    readonly sizeBytes: number
    readonly usedAt: number
  }> {
    for await (const { owner, sizeBytes, usedAt } of walkGit(this.#layout))
      yield { name: nameOf(owner), sizeBytes, usedAt }
  }
}

class Draft implements GitDraft {
  readonly directory: string
  readonly #owner: string
  readonly #layout: Layout
  readonly #ledger: Ledger
  readonly #reservations: Reservation[]
  #refsBefore: Buffer | undefined
  #isOver = false

  constructor(parts: {
    readonly owner: string
    readonly directory: string
    readonly layout: Layout
    readonly ledger: Ledger
    readonly room: Reservation
  }) {
    this.directory = parts.directory
    this.#owner = parts.owner
    this.#layout = parts.layout
    this.#ledger = parts.ledger
    this.#reservations = [parts.room]
  }

  /** Makes an empty repository, or one with what is stored already. */
  async fill(): Promise<void> {
    const packs = path.join(this.directory, 'objects', 'pack')
    await makeDirectory(packs)
    await makeDirectory(path.join(this.directory, 'objects', 'info'))
    await makeDirectory(path.join(this.directory, 'refs'))
    await writeFile(path.join(this.directory, 'config'), CONFIG, { mode: 0o600 })
    await writeFile(path.join(this.directory, 'HEAD'), HEAD, { mode: 0o600 })
    const older = directoryOf(this.#layout, nameOf(this.#owner))
    const refs = await ifThere(readFile(path.join(older, 'packed-refs')))
    const names = ((await ifThere(readdir(path.join(older, 'objects', 'pack')))) ?? []).filter((name) =>
      PACK_FILE.test(name),
    )
    if (refs === undefined || names.filter((name) => name.endsWith('.pack')).length >= MAX_PACKS) return
    for (const name of names)
      await linkOrCopy(path.join(older, 'objects', 'pack', name), path.join(packs, name))
    await writeFile(path.join(this.directory, 'packed-refs'), refs, { mode: 0o600 })
    this.#refsBefore = refs
  }

  async grow(): Promise<boolean> {
    if (this.#isOver) return false
    const { all, own } = await sizeOf(this.directory)
    if (all > MAX_REPO_BYTES) return false
    const promised = this.#reservations.reduce((sum, { leftBytes }) => sum + leftBytes, 0)
    if (own + STEP_BYTES / 2 <= promised) return true
    const more = await this.#ledger.reserve(own + STEP_BYTES - promised)
    if (more === undefined) return false
    if (this.#isOver) more.release()
    else this.#reservations.push(more)
    return true
  }

  async isNew(): Promise<boolean> {
    const refs = await ifThere(readFile(path.join(this.directory, 'packed-refs')))
    return refs !== undefined && this.#refsBefore?.equals(refs) !== true
  }

  async commit(): Promise<boolean> {
    if (this.#isOver) return false
    const name = nameOf(this.#owner)
    const place = directoryOf(this.#layout, name)
    if (!(await this.isNew()) || this.#ledger.isPinned(name)) {
      await this.discard()
      return false
    }
    const { all } = await sizeOf(this.directory)
    await writeFile(
      path.join(this.directory, NOTE),
      `${JSON.stringify({ owner: this.#owner, sizeBytes: all })}\n`,
      { mode: 0o600 },
    )
    // An eviction of the older one must not take the files of this one.
    await this.#ledger.removed(name)
    await removeAtOnce(this.#layout, place)
    this.#ledger.drop(name)
    await renameInto(this.directory, place, { durable: true })
    this.#end()
    this.#ledger.add(name, all)
    return true
  }

  async discard(): Promise<void> {
    if (this.#isOver) return
    this.#end()
    // A folder left in tmp/ is harmless: it is emptied at the next start.
    await rm(this.directory, { recursive: true, force: true }).catch(() => undefined)
  }

  #end(): void {
    this.#isOver = true
    for (const reservation of this.#reservations) reservation.release()
  }
}

/** All repositories of a store. Folders that are none are ignored. */
export async function* walkGit(layout: Layout): AsyncGenerator<StoredGit> {
  for (const fan of await namesIn(layout.git)) {
    if (!/^[0-9a-f]{2}$/.test(fan)) continue
    for (const hex of await namesIn(path.join(layout.git, fan))) {
      const directory = path.join(layout.git, fan, hex)
      const stored = await readNote(directory)
      if (stored !== undefined && directoryOf(layout, nameOf(stored.owner)) === directory) yield stored
    }
  }
}

/** Removes the repository of an owner. Resolves with whether there was one. Rejects with the error of the disk. */
export async function removeGit(layout: Layout, owner: string): Promise<boolean> {
  return removeAtOnce(layout, directoryOf(layout, nameOf(owner)))
}

async function readNote(directory: string): Promise<StoredGit | undefined> {
  const file = path.join(directory, NOTE)
  const [text, stats] = await Promise.all([ifThere(readFile(file, 'utf8')), ifThere(lstat(file))])
  if (text === undefined || stats === undefined) return undefined
  const { owner, sizeBytes } = parseRecord(text) ?? {}
  if (typeof owner !== 'string' || typeof sizeBytes !== 'number' || !(sizeBytes >= 0)) return undefined
  return { owner, directory, sizeBytes, usedAt: stats.mtimeMs }
}

/** Renames first: nothing finds a repository of which a part has gone. */
async function removeAtOnce(layout: Layout, directory: string): Promise<boolean> {
  const leaving = path.join(layout.tmp, randomBytes(12).toString('hex'))
  try {
    await renameInto(directory, leaving, { durable: false })
  } catch (error) {
    if (isMissing(error)) return false
    throw error
  }
  await rm(leaving, { recursive: true, force: true })
  return true
}

async function linkOrCopy(from: string, to: string): Promise<void> {
  try {
    await link(from, to)
  } catch (error) {
    if (!NO_LINKS.has(errorCode(error) ?? '')) throw error
    await copyFile(from, to)
  }
}

const NO_LINKS: ReadonlySet<string> = new Set(['EPERM', 'EMLINK', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EXDEV'])

/** The space of all files below a folder, and of those that have no other name. */
async function sizeOf(directory: string): Promise<{ readonly all: number; readonly own: number }> {
  let [all, own] = [0, 0]
  const entries = (await ifThere(readdir(directory, { withFileTypes: true, recursive: true }))) ?? []
  for (const entry of entries) {
    const stats = await ifThere(lstat(path.join(entry.parentPath, entry.name)))
    if (stats === undefined) continue
    const bytes = Math.max(stats.blocks * 512, stats.isFile() ? stats.size : 0)
    all += bytes
    if (stats.nlink === 1 || !stats.isFile()) own += bytes
  }
  return { all, own }
}

async function namesIn(directory: string): Promise<string[]> {
  return ((await ifThere(readdir(directory))) ?? []).sort()
}

function nameOf(owner: string): string {
  return `${PREFIX}${createHash('sha256').update(owner).digest('hex')}`
}

function directoryOf(layout: Layout, name: string): string {
  const hex = name.slice(PREFIX.length)
  return path.join(layout.git, hex.slice(0, 2), hex)
}
