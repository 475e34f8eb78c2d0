// The list of issued tokens on disk. A running mirror follows it, while commands change it. Only this file of the room
// accesses the disk.

import type { Stats } from 'node:fs'
import { open, readFile, stat, unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { errorCode, ifThere, makeDirectory } from '../store/atomic.ts'
import { followLinks, replaceFile, type User } from '../store/replace.ts'
import {
  dropLongEnded,
  formatTokenList,
  type IssuedToken,
  parseTokenList,
  parseTokenListInSlices,
} from './token-list.ts'

/** How long a list is used before its file is checked again. A revoked token is refused after this time at the latest. */
const RECHECK_MS = 1_000
/** An unreadable list is read again after this time even if its file has not changed, because a disk may recover. */
const RETRY_MS = 10_000
/** The bound of the list: about 300,000 tokens. A larger file cannot be the intended one. */
const MAX_BYTES = 64 * 1024 * 1024
/** How long to wait for the lock. Another command holds it only while it writes a small file. */
const LOCK_WITHIN_MS = 5_000
const LOCK_POLL_MS = 20

/** The path of the list. Without a setting it is in the store, and a new store may contain nothing but this list. */
export function mirrorTokensPath(config: {
  readonly mirrorTokens?: string | undefined
  readonly cacheDir: string
}): string {
  return config.mirrorTokens ?? join(config.cacheDir, 'mirror-tokens.json')
}

/** The list as it is in the file, which is checked at most once a second unless a caller forces a check. */
export class TokenFile {
  readonly #path: string
  readonly #monotonic: () => number
  readonly #onTrouble: (reason: string) => void
  #list: readonly IssuedToken[] = []
  #stamp = ''
  #checkedAt = Number.NEGATIVE_INFINITY
  #failed: { readonly stamp: string | undefined; readonly at: number } | undefined
  #trouble: string | undefined
  #current: Promise<void> | undefined
  #next: Promise<void> | undefined

  constructor(options: {
    readonly path: string
    /** Monotonic time in milliseconds. */
    readonly monotonic: () => number
    /** Called once for each fault of the file. The last valid list stays in use meanwhile. */
    readonly onTrouble: (reason: string) => void
  }) {
    this.#path = options.path
    this.#monotonic = options.monotonic
    this.#onTrouble = options.onTrouble
  }

  /** The list as of the last check. A missing file is an empty list. */
  list(): readonly IssuedToken[] {
    return this.#list
  }

  /**
   * Resolves when the list is at most a second old; with `force`, when it is as it was on disk at this call or later. Never
   * rejects. All waiting callers share one check at a time, and an unreadable list is not read again for each of them.
   */
  async refresh(force = false): Promise<void> {
    if (this.#current !== undefined) {
      // A check that has already begun may have missed the latest change.
      await (force ? (this.#next ??= this.#current.then(() => this.#start())) : this.#current)
    } else if (force || this.#monotonic() - this.#checkedAt >= RECHECK_MS) {
      await this.#start()
    }
  }

  #start(): Promise<void> {
    this.#next = undefined
    this.#current = this.#check().finally(() => {
      this.#current = undefined
    })
    return this.#current
  }

  async #check(): Promise<void> {
    const at = this.#monotonic()
    this.#checkedAt = at
    let stamp: string | undefined
    try {
      stamp = stampOf(await statOf(this.#path))
      if (stamp !== this.#stamp) {
        if (this.#failed !== undefined) {
          const { stamp: before, at: failedAt } = this.#failed
          if (at - failedAt < (before === stamp ? RETRY_MS : RECHECK_MS)) return
        }
        this.#list = stamp === '' ? [] : await parseTokenListInSlices(await readFile(this.#path, 'utf8'))
        // The stamp was taken before the text, so that the next check sees a change in between.
        this.#stamp = stamp
      }
      this.#failed = undefined
      this.#trouble = undefined
    } catch (error) {
      this.#failed = { stamp, at }
      const reason = error instanceof Error ? error.message : String(error)
      if (reason !== this.#trouble) this.#onTrouble(reason)
      this.#trouble = reason
    }
  }
}

function statOf(path: string): Promise<Stats | undefined> {
  return ifThere(stat(path))
}

/** A text that changes whenever the file changes; empty without a file. Throws if the file must not be trusted. */
function stampOf(stats: Stats | undefined): string {
  if (stats === undefined) return ''
  // Reading a pipe may block, and a device may have no end.
  if (!stats.isFile()) throw new Error('it is not a regular file')
  // Users that may write this file may issue tokens. A group may have this right: volumes of Kubernetes belong to a group.
  if ((stats.mode & 0o002) !== 0)
    throw new Error('it is writable by all users; remove that permission (chmod o-w)')
  if (stats.size > MAX_BYTES) throw new Error(`it is larger than ${MAX_BYTES} bytes`)
  return `${stats.ino} ${stats.mtimeMs} ${stats.ctimeMs} ${stats.size}`
}

/** Reads the list for a command. A missing file is an empty list. Rejects if the file cannot be read. */
export async function readTokenFile(path: string): Promise<readonly IssuedToken[]> {
  return stampOf(await statOf(path)) === '' ? [] : parseTokenList(await readFile(path, 'utf8'))
}

/**
 * Changes the list on disk. A lock lets one command at a time do so, and a reader sees either the old or the new list. Tokens
 * that ended long ago are dropped. The file keeps its owner and mode, and a symbolic link is followed. A new file is made
 * readable for `reader`, the user that the mirror runs as. Rejects with the error that `change` throws, or if the mirror
 * could not read the new list; in both cases nothing is written.
 */
export async function changeTokenFile(
  path: string,
  change: (list: readonly IssuedToken[]) => readonly IssuedToken[],
  options: { readonly reader?: User | undefined; readonly now?: number } = {},
): Promise<void> {
  const file = await followLinks(path)
  await makeDirectory(dirname(file))
  const unlock = await lock(`${file}.lock`)
  try {
    const list = dropLongEnded(change(await readTokenFile(file)), options.now ?? Date.now())
    const text = formatTokenList(list)
    if (Buffer.byteLength(text) > MAX_BYTES)
      throw new Error(`the list would exceed ${MAX_BYTES} bytes, and no mirror would read it; revoke tokens`)
    await replaceFile(file, text, options.reader)
    if ((await readFile(file, 'utf8')) !== text) throw new Error('it does not contain what was written to it')
  } finally {
    await unlock()
  }
}

async function lock(path: string): Promise<() => Promise<void>> {
  for (let waitedMs = 0; ; waitedMs += LOCK_POLL_MS) {
    try {
      await (await open(path, 'wx', 0o600)).close()
      return () => unlink(path)
    } catch (error) {
      if (errorCode(error) !== 'EEXIST') throw error
      if (waitedMs >= LOCK_WITHIN_MS) {
        // A lock is never broken by its age: two commands that break it would overwrite each other's list.
        throw new Error(`another command is changing the tokens; if none is running, remove ${path}`)
      }
      await delay(LOCK_POLL_MS)
    }
  }
}
