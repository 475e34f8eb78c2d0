// Writes one repo into a cache directory of huggingface_hub. Files are written under another name, compared with their digest,
// synced and renamed, so that a client never sees half of one. Nothing is followed that leads out of the directory, and
// nothing is overwritten but the commit of a branch or tag.

import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import {
  copyFile,
  lstat,
  mkdir,
  open,
  readdir,
  readlink,
  realpath,
  rename,
  rmdir,
  symlink,
  unlink,
  writeFile,
} from 'node:fs/promises'
import path from 'node:path'
import { atDisk, DiskFailure, diskCode } from '../../disk-errors.ts'
import type { CommitHash, Repo } from '../../hub/names.ts'
import { checkPath, checkRevision } from '../../hub/url-text.ts'
import { errorCode, ifThere, makeDirectory, syncDirectory } from '../../store/atomic.ts'
import { type BlobKey, hashUpTo, Verifier } from '../../store/digest.ts'
import { folderOf } from './names.ts'

/** Holds files that are not complete. Clients look into blobs, refs, snapshots and trees only. */
const TEMPORARY = '.hubmirror'
/** What is older was left by a process that was killed. */
const LEFT_AFTER_MS = 3_600_000

/** Something else has the name that a file must get. The message says what. */
export class Conflict extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'Conflict'
  }
}

/** The bytes of a file: a file of the store, or the bytes themselves. */
export type BytesSource = { readonly file: string } | { readonly bytes: Buffer }

export interface WrittenFile {
  readonly commit: CommitHash
  readonly path: string
  readonly key: BlobKey
  readonly sizeBytes: number
}

/** All methods reject with DiskFailure. */
export class CacheWriter {
  readonly #root: string
  readonly #copies: boolean
  readonly #changed = new Set<string>()

  private constructor(root: string, copies: boolean) {
    this.#root = root
    this.#copies = copies
  }

  /** Makes the folder of the repo, and removes what an earlier run has left. The caller must close it. */
  static open(directory: string, repo: Repo, { copies }: { readonly copies: boolean }): Promise<CacheWriter> {
    return writing(directory, async () => {
      await makeDirectory(path.resolve(directory), 0o777)
      const writer = new CacheWriter(path.join(await realpath(directory), folderOf(repo)), copies)
      await writer.#folder()
      await writer.#removeLeft(await writer.#folder(TEMPORARY))
      return writer
    })
  }

  /**
   * Writes a file of a snapshot, unless it is there. Resolves with false if the source is missing or does not have the digest.
   * Rejects with Conflict.
   */
  write(file: WrittenFile, source: BytesSource): Promise<'written' | 'there' | 'missing' | 'damaged'> {
    return writing(this.#root, () => this.#write(file, source))
  }

  async #write(file: WrittenFile, source: BytesSource): Promise<'written' | 'there' | 'missing' | 'damaged'> {
    checkPath(file.path)
    const segments = file.path.split('/')
    const name = segments.pop() ?? ''
    const blob = path.join(this.#root, 'blobs', file.key.slice(file.key.indexOf(':') + 1))
    const place = path.join(this.#root, 'snapshots', file.commit, ...segments, name)
    const link = path.relative(path.dirname(place), blob)
    const folder = await this.#folder('snapshots', file.commit, ...segments)
    const found = await ifThere(lstat(place))
    const isLink = found?.isSymbolicLink() === true && (await readlink(place)) === link
    if (found !== undefined && !isLink) {
      if (!found.isFile() || !(await hasBytes(place, file)))
        throw new Conflict(
          `${place} is there, and is not this file; remove it, or export into another directory`,
        )
      return 'there'
    }
    const target = this.#copies && !isLink ? place : blob
    const outcome = await this.#bring(target, file, source)
    if (target === blob && !isLink && (outcome === 'written' || outcome === 'there')) {
      await symlink(link, place)
      this.#changed.add(folder)
      return 'written'
    }
    return outcome
  }

  /** Points a branch or tag to a commit. To be called when all files of the commit are there. */
  point(revision: string, commit: CommitHash): Promise<void> {
    return writing(this.#root, () => this.#point(revision, commit))
  }

  async #point(revision: string, commit: CommitHash): Promise<void> {
    checkRevision(revision)
    for (const folder of this.#changed) await syncDirectory(folder)
    const segments = revision.split('/')
    if (segments.some((segment) => segment === '' || segment === '.' || segment === '..'))
      throw new Conflict(`${revision} is no name of a branch or tag`)
    const name = segments.pop() ?? ''
    const folder = await this.#folder('refs', ...segments)
    const place = path.join(folder, name)
    const found = await ifThere(lstat(place))
    if (found !== undefined && !found.isFile()) throw new Conflict(`${place} is there, and is no file`)
    const temporary = this.#temporary()
    try {
      await writeFile(temporary, commit, { flag: 'wx', mode: 0o644, flush: true })
      await rename(temporary, place)
    } finally {
      await ifThere(unlink(temporary))
    }
    await syncDirectory(folder)
  }

  /** Resolves when all names are on the disk. */
  async close(): Promise<void> {
    await writing(this.#root, async () => {
      for (const folder of this.#changed) await syncDirectory(folder)
    })
    // Another process may be writing there.
    await rmdir(path.join(this.#root, TEMPORARY)).catch(() => undefined)
  }

  async #bring(
    target: string,
    file: WrittenFile,
    source: BytesSource,
  ): Promise<'written' | 'there' | 'missing' | 'damaged'> {
    const folder = path.dirname(target)
    if (folder === path.join(this.#root, 'blobs')) await this.#folder('blobs')
    const found = await ifThere(lstat(target))
    if (found !== undefined) {
      if (found.isFile() && (await hasBytes(target, file))) return 'there'
      throw new Conflict(
        `${target} is there, and does not have its digest; remove it, or export into another directory`,
      )
    }
    const temporary = this.#temporary()
    try {
      if ('bytes' in source) await writeFile(temporary, source.bytes, { flag: 'wx' })
      else {
        // A clone where the file system can; the bytes themselves elsewhere. Never a hard link: the owner of the directory could
        // change what the mirror serves.
        const copied = await ifThere(
          copyFile(source.file, temporary, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE).then(
            () => true,
            (error: unknown) => {
              // Either of the two may have failed.
              if (!['EACCES', 'EIO'].includes(diskCode(error) ?? '')) throw error
              throw new DiskFailure(`${source.file} cannot be copied into ${this.#root}`, error)
            },
          ),
        )
        if (copied === undefined) return 'missing'
      }
      if (!(await hasBytes(temporary, file, { settles: true }))) return 'damaged'
      await rename(temporary, target)
      this.#changed.add(folder)
      return 'written'
    } finally {
      await ifThere(unlink(temporary))
    }
  }

  #temporary(): string {
    return path.join(this.#root, TEMPORARY, randomBytes(12).toString('hex'))
  }

  /** Makes a folder of the repo. Rejects with Conflict where something else is in its place, such as a symbolic link. */
  async #folder(...segments: readonly string[]): Promise<string> {
    let folder = this.#root
    for (const segment of ['', ...segments]) {
      folder = path.join(folder, segment)
      await mkdir(folder).then(
        () => this.#changed.add(path.dirname(folder)),
        (error: unknown) => {
          if (errorCode(error) !== 'EEXIST') throw error
        },
      )
      if (!(await lstat(folder)).isDirectory()) throw new Conflict(`${folder} is there, and is no directory`)
    }
    return folder
  }

  async #removeLeft(folder: string): Promise<void> {
    for (const name of await readdir(folder)) {
      const file = path.join(folder, name)
      const found = await ifThere(lstat(file))
      if (found?.isFile() === true && Date.now() - found.mtimeMs > LEFT_AFTER_MS) await ifThere(unlink(file))
    }
  }
}

function writing<T>(directory: string, work: () => Promise<T>): Promise<T> {
  return atDisk(`the directory ${directory} cannot be written`, work)
}

/** Whether a regular file has the size and the digest. With `settles` its bytes are synced, and its mode is set. */
async function hasBytes(
  file: string,
  { key, sizeBytes }: Pick<WrittenFile, 'key' | 'sizeBytes'>,
  { settles = false } = {},
): Promise<boolean> {
  const handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  try {
    const found = await handle.stat()
    if (!found.isFile() || found.size !== sizeBytes) return false
    const verifier = new Verifier(key, sizeBytes)
    await hashUpTo(
      verifier,
      async (buffer, offset, length, position) =>
        (await handle.read(buffer, offset, length, position)).bytesRead,
      sizeBytes,
    )
    if (!verifier.matches()) return false
    if (settles) {
      await handle.chmod(0o444)
      await handle.sync()
    }
    return true
  } finally {
    await handle.close()
  }
}
