// The list of issued tokens on the disk: followed by a running mirror, changed by the commands beside it. The only
// file of this room that touches the disk.

import { readFileSync, statSync } from 'node:fs'
import { open, unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { errorCode, makeDirectory, writeAtomic } from '../store/atomic.ts'
import { formatTokenList, type IssuedToken, parseTokenList } from './token-list.ts'

/** How long a list is believed before its file is looked at again: a token is revoked within this time. */
const RECHECK_MS = 1_000
/** Some ten thousand tokens; what is larger is not the file that was meant. */
const MAX_BYTES = 4 * 1024 * 1024
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
  #trouble: string | undefined

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

  /** Never throws. A missing file is an empty list. */
  list(anew = false): readonly IssuedToken[] {
    const at = this.#monotonic()
    if (!anew && at - this.#lookedAt < RECHECK_MS) return this.#list
    this.#lookedAt = at
    try {
      this.#look()
      this.#trouble = undefined
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      if (reason !== this.#trouble) this.#onTrouble(reason)
      this.#trouble = reason
    }
    return this.#list
  }

  #look(): void {
    const stamp = stampOf(this.#path)
    if (stamp === this.#stamp) return
    this.#list = stamp === '' ? [] : parseTokenList(readFileSync(this.#path, 'utf8'))
    // Taken before the text was, so that a change in between is seen at the next look.
    this.#stamp = stamp
  }
}

/** What changes whenever the file does; empty where there is none. Throws when it is not to be trusted. */
function stampOf(path: string): string {
  const stats = statSync(path, { throwIfNoEntry: false })
  if (stats === undefined) return ''
  // A pipe would be waited for, and a device may have no end.
  if (!stats.isFile()) throw new Error('it is no file')
  // Whoever may write here may issue tokens. A group may: volumes of Kubernetes belong to one.
  if ((stats.mode & 0o002) !== 0)
    throw new Error('everybody may write to it; take that right away (chmod o-w)')
  if (stats.size > MAX_BYTES) throw new Error(`it has more than ${MAX_BYTES} bytes`)
  return `${stats.ino} ${stats.mtimeMs} ${stats.ctimeMs} ${stats.size}`
}

/** The list for a command. Throws when it cannot be read; a missing file is an empty list. */
export function readTokenFile(path: string): readonly IssuedToken[] {
  return stampOf(path) === '' ? [] : parseTokenList(readFileSync(path, 'utf8'))
}

/**
 * Changes the list on the disk, one command after the other; a reader sees the old list or the new one. Throws what
 * `change` throws, and then nothing is written.
 */
export async function changeTokenFile(
  path: string,
  change: (list: readonly IssuedToken[]) => readonly IssuedToken[],
): Promise<void> {
  await makeDirectory(dirname(path))
  const unlock = await lock(`${path}.lock`)
  try {
    const list = change(readTokenFile(path))
    await writeAtomic(dirname(path), path, formatTokenList(list), { durable: true })
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
        throw new Error(`another command is at work on the tokens; if none is, remove ${path}`)
      }
      await delay(LOCK_POLL_MS)
    }
  }
}
