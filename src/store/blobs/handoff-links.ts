// Hard links to finished blobs, under random names, for another process that opens files by name. A link keeps the bytes
// in place between the moment its name is given out and the moment the other process opens it: neither an
// eviction, nor `hubmirror prune`, nor a restart of the mirror takes them away. What the other process has open by then
// it can read to the end.
//
// While a link exists its blob is pinned, since evicting it would free no space.

import { randomBytes } from 'node:crypto'
import { link, lstat, unlink } from 'node:fs/promises'
import path from 'node:path'
import { errorCode, isMissing, makeDirectory } from '../atomic.ts'
import type { BlobKey } from '../digest.ts'
import type { Layout } from '../layout.ts'
import type { Ledger } from '../ledger.ts'

/**
 * How long a link stays after its name was given out last. The other process opens the file as soon as it has read the
 * name. This bounds how long a busy one may take for that, and for how long a blob stays pinned.
 */
const LIFE_MS = 30_000

export interface HandoffLinksOptions {
  readonly layout: Layout
  readonly ledger: Pick<Ledger, 'pin'>
  /** Called when the volume does not make a link, once for each error code. */
  readonly onRefused: (error: unknown) => void
}

interface Link {
  readonly name: string
  readonly inode: number
  readonly timer: NodeJS.Timeout
  /** Removes the file and the pin. Never rejects. */
  readonly remove: () => Promise<void>
}

export class HandoffLinks {
  readonly #options: HandoffLinksOptions
  readonly #links = new Map<BlobKey, Promise<Link | undefined>>()
  readonly #refused = new Set<string>()

  constructor(options: HandoffLinksOptions) {
    this.#options = options
  }

  /**
   * The name of a link, in the folder `handoff`, to the blob of `key` whose file has this inode. It stays for 30 seconds
   * at least. Resolves with undefined when another file is there by now, or when the volume makes no link. Never rejects.
   */
  async nameFor(key: BlobKey, inode: number): Promise<string | undefined> {
    const known = this.#links.get(key)
    const made = (await known) ?? (await this.#remake(key, known))
    if (made?.inode !== inode) return undefined
    made.timer.refresh()
    return made.name
  }

  /** Removes all links. */
  async close(): Promise<void> {
    const links = await Promise.all(this.#links.values())
    for (const made of links) await made?.remove()
  }

  /** Makes a link, unless another caller has begun to make one since `known` was looked up. */
  #remake(key: BlobKey, known: Promise<Link | undefined> | undefined): Promise<Link | undefined> {
    const other = this.#links.get(key)
    if (other !== undefined && other !== known) return other
    const making = this.#make(key).catch((error: unknown) => {
      this.#report(error)
      return undefined
    })
    this.#links.set(key, making)
    return making
  }

  async #make(key: BlobKey): Promise<Link | undefined> {
    const { layout, ledger } = this.#options
    const name = randomBytes(16).toString('hex')
    const file = path.join(layout.handoff, name)
    const unpin = ledger.pin(key)
    try {
      await linkIn(layout.handoff, layout.blob(key), file)
      const { ino: inode } = await lstat(file)
      const remove = async (): Promise<void> => {
        clearTimeout(timer)
        this.#links.delete(key)
        await unlink(file).catch(() => undefined)
        unpin()
      }
      const timer = setTimeout(() => void remove(), LIFE_MS)
      timer.unref()
      return { name, inode, timer, remove }
    } catch (error) {
      this.#links.delete(key)
      unpin()
      throw error
    }
  }

  #report(error: unknown): void {
    const code = errorCode(error) ?? ''
    if (isMissing(error) || this.#refused.has(code)) return
    this.#refused.add(code)
    this.#options.onRefused(error)
  }
}

/** Links, making the directory where it is missing: it is made by the first link, and may be removed by an operator. */
async function linkIn(directory: string, from: string, to: string): Promise<void> {
  try {
    await link(from, to)
  } catch (error) {
    if (!isMissing(error)) throw error
    await makeDirectory(directory)
    await link(from, to)
  }
}
