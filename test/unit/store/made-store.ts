// A store on the disk, made file by file. Facts are written by the code that owns them, so that code that reads them
// beside it is tested against real ones.

import { createHash } from 'node:crypto'
import { chmod, mkdir, mkdtemp, open, readdir, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { Readable } from 'node:stream'
import { setImmediate as yieldToEventLoop } from 'node:timers/promises'
import { type CommitHash, parseRepoId, type Repo, type RepoType } from '../../../src/hub/names.ts'
import { Invalidations } from '../../../src/mirror/invalidations.ts'
import { Metadata } from '../../../src/mirror/metadata/metadata.ts'
import { SMALL_BYTES } from '../../../src/store/blobs/blob-file.ts'
import type { BlobKey } from '../../../src/store/digest.ts'
import type { DiskStore } from '../../../src/store/disk-store.ts'
import { openStore } from '../../../src/store/disk-store.ts'
import { createLayout, type Layout } from '../../../src/store/layout.ts'
import { writeBlockMap } from '../../../src/store/partials/block-map.ts'
import { BlockMap } from '../../../src/store/partials/blocks.ts'
import type { Facts } from '../../../src/store/store.ts'
import type { BlobRow } from '../../../src/store/table/blob-rows.ts'
import { withTable } from '../../../src/store/table/table.ts'
import { type Observer, silentObserver } from '../../../src/telemetry/observer.ts'
import { type OpenFacts, openFacts } from '../../support/open-facts.ts'
import { changeTable, flipStoredBit, forgetRows, storedBytes } from '../../support/stored-blobs.ts'

export const ORIGIN = 'https://hub.example/'
export const COMMIT = 'c'.repeat(40) as CommitHash

/** Makes an empty store; the caller removes it. */
export async function makeStore(): Promise<MadeStore> {
  const root = await mkdtemp(path.join(tmpdir(), 'hubmirror-made-'))
  const store = await openAt(root)
  await store.scanned
  await store.close()
  await forgetRows(root)
  return new MadeStore(root)
}

/** Opens the store as a mirror does; the caller closes it. */
export function openAt(root: string, observer: Observer = silentObserver): Promise<DiskStore> {
  return openStore({
    root,
    maxBytes: undefined,
    minFreeBytes: 0,
    memoryBytes: 1_000_000,
    now: Date.now,
    observer,
  })
}

/** `org/name`, a model unless `type` says otherwise. */
export function repoOf(id: string, type: RepoType = 'model'): Repo {
  return { type, id: parseRepoId(id)! }
}

export function sha256Key(bytes: Buffer): BlobKey {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}

export function gitKey(bytes: Buffer): BlobKey {
  return `gitsha1:${createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex')}`
}

interface BlobOptions {
  readonly key?: BlobKey
  readonly ageMs?: number
}

export class MadeStore {
  readonly root: string
  readonly layout: Layout
  /** Open while they are used: a process may not open them twice, and tests read them in other ways. */
  readonly facts: Facts = {
    read: (kind, key) => this.#use((facts) => facts.read(kind, key)),
    peek: () => undefined,
    write: (kind, key, value) => this.#use((facts) => facts.write(kind, key, value)),
    remove: (kind, key) => this.#use((facts) => facts.remove(kind, key)),
    list: () => Readable.from([]),
    keys: () => Readable.from([]),
  }
  #users = 0
  #open: Promise<OpenFacts> | undefined
  #closing: Promise<void> = Promise.resolve()
  readonly #metadata = new Map<string, Metadata>()
  readonly #writes: Promise<void>[] = []

  constructor(root: string) {
    this.root = root
    this.layout = createLayout(root)
  }

  async #use<T>(work: (facts: OpenFacts) => Promise<T>): Promise<T> {
    this.#users += 1
    this.#open ??= this.#closing.then(() => openFacts(this.layout, { memoryBytes: 1 }))
    const facts = await this.#open
    try {
      return await work(facts)
    } finally {
      this.#users -= 1
      if (this.#users === 0) {
        this.#open = undefined
        this.#closing = facts.close()
      }
      await this.#closing
    }
  }

  remove(): Promise<void> {
    return rm(this.root, { recursive: true, force: true })
  }

  /** A blob as a mirror stores it: a small one in the table, others in files. Nothing may have the table open. */
  async blob(bytes: Buffer, options: BlobOptions = {}): Promise<BlobKey> {
    if (bytes.length > SMALL_BYTES) return this.fileBlob(bytes, options)
    const key = options.key ?? sha256Key(bytes)
    const usedAt = Date.now() - (options.ageMs ?? 0)
    await changeTable(this.root, { act: 'add-blob', key, sizeBytes: bytes.length, usedAt, bytes })
    return key
  }

  /** A blob in a file, as earlier versions stored small ones, too. */
  async fileBlob(bytes: Buffer, options: BlobOptions = {}): Promise<BlobKey> {
    const key = options.key ?? sha256Key(bytes)
    const file = this.layout.blob(key)
    await mkdir(path.dirname(file), { recursive: true })
    await writeFile(file, bytes)
    await chmod(file, 0o400)
    const usedAt = (Date.now() - (options.ageMs ?? 0)) / 1000
    await utimes(file, usedAt, usedAt)
    return key
  }

  /** Records that the blob is used now, as a mirror does. */
  async use(key: BlobKey): Promise<void> {
    await changeTable(this.root, { act: 'use-blob', key, usedAt: Date.now() })
    await utimes(this.layout.blob(key), new Date(), new Date()).catch(() => undefined)
  }

  /** Whether a blob is stored. Nothing in this process may have the table open. */
  async has(key: BlobKey): Promise<boolean> {
    return (await storedBytes(this.root, key.replace(':', '-'))) !== undefined
  }

  /** What the table knows of a blob. */
  async row(key: BlobKey): Promise<BlobRow | undefined> {
    return withTable(this.layout.facts, { readOnly: true }, (table) => table?.blob(key))
  }

  /** A sparse partial with only its first block. */
  async partial(key: BlobKey, sizeBytes: number, options: { readonly ageMs?: number } = {}): Promise<void> {
    const directory = this.layout.partial(key)
    await mkdir(directory, { recursive: true })
    const data = await open(path.join(directory, 'data'), 'w')
    await data.truncate(sizeBytes)
    await data.write(Buffer.alloc(Math.min(sizeBytes, 4096), 1), 0)
    await data.close()
    const map = new BlockMap(sizeBytes)
    map.add(0)
    await writeBlockMap(this.layout.tmp, path.join(directory, 'blocks'), map)
    const usedAt = (Date.now() - (options.ageMs ?? 0)) / 1000
    await utimes(path.join(directory, 'data'), usedAt, usedAt)
  }

  /** The facts of a mirror over this store; `settled` waits for its writes. */
  known(origin = ORIGIN): Metadata {
    const metadata = this.#metadata.get(origin) ?? this.#createMetadata(origin)
    this.#metadata.set(origin, metadata)
    return metadata
  }

  async settled(): Promise<void> {
    // A write may be followed by another, such as that of the names of a repo's revisions.
    while (this.#writes.length > 0 || this.#users > 0) {
      await Promise.all(this.#writes.splice(0))
      await yieldToEventLoop()
    }
    await this.#closing
  }

  #createMetadata(origin: string): Metadata {
    const facts: Facts = {
      ...this.facts,
      write: (kind, key, value) => {
        const done = this.facts.write(kind, key, value)
        this.#writes.push(done)
        return done
      },
    }
    return new Metadata({
      facts,
      origin,
      monotonic: () => 0,
      invalidations: new Invalidations(),
      onWriteError(error) {
        throw error
      },
    })
  }

  /** The fact of a file, as a mirror writes it. */
  async file(
    repo: Repo,
    filePath: string,
    key: BlobKey,
    sizeBytes: number,
    options: { readonly origin?: string } = {},
  ): Promise<void> {
    const meta = { commit: COMMIT, etag: key.slice(key.indexOf(':') + 1), sizeBytes, lfs: true }
    this.known(options.origin).files.set(repo, COMMIT, filePath, { kind: 'present', meta, key })
    await this.settled()
  }

  /** A blob and the fact that names it. */
  async stored(
    repo: Repo,
    filePath: string,
    bytes: Buffer,
    options: { readonly ageMs?: number } = {},
  ): Promise<BlobKey> {
    const key = await this.blob(bytes, options)
    await this.file(repo, filePath, key, bytes.length)
    return key
  }

  /** Flips one bit of a blob, as an ageing disk does: size and times stay. */
  flipBit(key: BlobKey, position = 0): Promise<void> {
    return flipStoredBit(this.root, key.replace(':', '-'), position)
  }

  async quarantined(): Promise<string[]> {
    const names: string[] = await readdir(this.layout.quarantine).catch(() => [])
    return names.sort()
  }
}
