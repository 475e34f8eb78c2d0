// The list of issued tokens on the disk: followed by a running mirror, changed by the commands beside it. The only
// file of this room that touches the disk.

import type { Stats } from 'node:fs'
import { open, readFile, stat, unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { errorCode, ifThere, makeDirectory } from '../store/atomic.ts'
import { followLinks, replaceFile, type User } from '../store/replace.ts'
import {
  formatTokenList,
  type IssuedToken,
  parseTokenList,
  parseTokenListInSlices,
  dropLongEnded,
} from './token-list.ts'

/** How long a list is believed before its file is looked at again: a token is revoked within this time. */
const RECHECK_MS = 1_000
/** A list that could not be read is tried again after this time though its file has not changed: a disk may recover. */
const RETRY_MS = 10_000
/** Some three hundred thousand tokens; what is larger is not the file that was meant. */
const MAX_BYTES = 64 * 1024 * 1024
/** Another command holds the lock for as long as a small file takes to be written. */
const LOCK_WITHIN_MS = 5_000
const LOCK_POLL_MS = 20

/** Where the list lies when no setting says otherwise: in the store, of which a fresh one may hold it and nothing else. */
export function mirrorTokensPath(config: {
  readonly mirrorTokens?: string | undefined
  readonly cacheDir: string
}): string {
  return config.mirrorTokens ?? join(config.cacheDir, 'mirror-tokens.json')
}

/** The list as its file says, looked at once a second, or when somebody asks for it anew. */
export class TokenFile {
  readonly #path: string
  readonly #monotonic: () => number
  readonly #onTrouble: (reason: string) => void
  #list: readonly IssuedToken[] = []
  #stamp = ''
  #lookedAt = Number.NEGATIVE_INFINITY
  #failed: { readonly stamp: string | undefined; readonly at: number } | undefined
  #trouble: string | undefined
  #current: Promise<void> | undefined
  #next: Promise<void> | undefined

  constructor(options: {
    readonly path: string
    /** Milliseconds that never step back. */
    readonly monotonic: () => number
    /** Told once of each thing wrong with the file; the last good list stays meanwhile. */
    readonly onTrouble: (reason: string) => void
  }) {
    this.#path = options.path
    this.#monotonic = options.monotonic
    this.#onTrouble = options.onTrouble
  }

  /** As of the last look. A missing file is an empty list. */
  list(): readonly IssuedToken[] {
    return this.#list
  }

  /**
   * Resolves when the list is no older than a second, with `anew` when it is as it was on the disk at this call or later.
   * Never rejects. However many wait, one look goes on at a time, and a list that could not be read is not read again for
   * each of them.
   */
  async refresh(anew = false): Promise<void> {
    if (this.#current !== undefined) {
      // One that has begun may have missed what is asked for.
      await (anew ? (this.#next ??= this.#current.then(() => this.#start())) : this.#current)
    } else if (anew || this.#monotonic() - this.#lookedAt >= RECHECK_MS) {
      await this.#start()
    }
  }

  #start(): Promise<void> {
    this.#next = undefined
    this.#current = this.#look().finally(() => {
      this.#current = undefined
    })
    return this.#current
  }

  async #look(): Promise<void> {
    const at = this.#monotonic()
    this.#lookedAt = at
    let stamp: string | undefined
    try {
      stamp = stampOf(await statOf(this.#path))
      if (stamp !== this.#stamp) {
        if (this.#failed !== undefined) {
          const { stamp: before, at: failedAt } = this.#failed
          if (at - failedAt < (before === stamp ? RETRY_MS : RECHECK_MS)) return
        }
        this.#list = stamp === '' ? [] : await parseTokenListInSlices(await readFile(this.#path, 'utf8'))
        // Taken before the text was, so that a change in between is seen at the next look.
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

/** What changes whenever the file does; empty where there is none. Throws when it is not to be trusted. */
function stampOf(stats: Stats | undefined): string {
  if (stats === undefined) return ''
  // A pipe would be waited for, and a device may have no end.
  if (!stats.isFile()) throw new Error('it is not a regular file')
  // Whoever may write here may issue tokens. A group may: volumes of Kubernetes belong to one.
  if ((stats.mode & 0o002) !== 0)
    throw new Error('it is writable by all users; remove that permission (chmod o-w)')
  if (stats.size > MAX_BYTES) throw new Error(`it is larger than ${MAX_BYTES} bytes`)
  return `${stats.ino} ${stats.mtimeMs} ${stats.ctimeMs} ${stats.size}`
}

/** The list for a command. Rejects when it cannot be read; a missing file is an empty list. */
export async function readTokenFile(path: string): Promise<readonly IssuedToken[]> {
  return stampOf(await statOf(path)) === '' ? [] : parseTokenList(await readFile(path, 'utf8'))
}

/**
 * Changes the list on the disk, one command after the other; a reader sees the old list or the new one. Tokens that ended
 * long ago leave it. Owner and mode stay, a link is followed, and a new list is for `reader`, the user that the mirror
 * runs as. Rejects with what `change` throws, or when the mirror could not read the new list; nothing is written then.
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
        // Not broken by age: two who broke it would write over each other.
        throw new Error(`another command is changing the tokens; if none is running, remove ${path}`)
      }
      await delay(LOCK_POLL_MS)
    }
  }
}
