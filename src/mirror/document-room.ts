// The memory that large documents may take together: while they come from the Hub, and while clients take them. Who
// finds no room waits for a while, and no caller can have all of it.

import { MirrorError } from '../errors.ts'

/** Twice the largest document. */
const ROOM_BYTES = 256 * 1024 * 1024
/** Twice it is less than the 10 s after which Python gives a silent answer up: what is stored may be waited for, too. */
const PATIENCE_MS = 4_000
/** Those who wait may hold something themselves. */
const MAX_WAITING = 256

interface Wish {
  readonly caller: string
  readonly bytes: number
  /** What the same document has already. */
  readonly before: number
}

interface Waiter extends Wish {
  readonly go: () => void
}

export class DocumentRoom {
  readonly #limitBytes: number
  readonly #patienceMs: number
  readonly #byCaller = new Map<string, number>()
  readonly #waiting = new Set<Waiter>()
  readonly #places = new WeakMap<Buffer, Place>()
  #takenBytes = 0

  constructor(options: { readonly limitBytes?: number; readonly patienceMs?: number } = {}) {
    this.#limitBytes = options.limitBytes ?? ROOM_BYTES
    this.#patienceMs = options.patienceMs ?? PATIENCE_MS
  }

  /** How much is taken now. */
  get takenBytes(): number {
    return this.#takenBytes
  }

  /** How many wait. */
  get waiting(): number {
    return this.#waiting.size
  }

  /** A place for a document that is about to come, with one holder. */
  open(caller: string): Place {
    return new Place({
      take: (bytes, before) => this.#take({ caller, bytes, before }),
      give: (bytes) => this.#give(caller, bytes),
    })
  }

  /** The document that came to `place`. */
  settle(place: Place, body: Buffer): void {
    this.#places.set(body, place)
  }

  /**
   * Holds a document that is in memory until the returned function is called, which may be called again. What others
   * hold takes no more room. Rejects with MirrorError (overloaded) when there is none in time.
   */
  async hold(body: Buffer, caller: string): Promise<() => void> {
    const known = this.#places.get(body)
    if (known?.isHeld === true) return known.hold()
    const place = this.open(caller)
    const leave = place.leaver()
    try {
      await place.grow(body.length)
    } catch (error) {
      leave()
      throw error
    }
    this.#places.set(body, place)
    return leave
  }

  #take(wish: Wish): Promise<void> {
    const { caller, bytes } = wish
    if (this.#waiting.size === 0 && this.#fits(wish)) {
      this.#add(caller, bytes)
      return Promise.resolve()
    }
    if (this.#waiting.size >= MAX_WAITING) return Promise.reject(busy())
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => {
        this.#waiting.delete(waiter)
        reject(busy())
        // It may have stood before others.
        this.#next()
      }, this.#patienceMs)
      const go = (): void => {
        clearTimeout(late)
        this.#add(caller, bytes)
        resolve()
      }
      const waiter = { ...wish, go }
      this.#waiting.add(waiter)
      this.#next()
    })
  }

  #give(caller: string, bytes: number): void {
    this.#add(caller, -bytes)
    this.#next()
  }

  /** In the order of coming. Who is over its own share is passed over; who waits for the rest to become free is not. */
  #next(): void {
    for (const waiter of this.#waiting) {
      if (this.#takenBytes + waiter.bytes > this.#limitBytes) return
      if (!this.#fits(waiter)) continue
      this.#waiting.delete(waiter)
      waiter.go()
    }
  }

  /** Half of the room is for each caller, and one document whatever its size. */
  #fits({ caller, bytes, before }: Wish): boolean {
    const own = this.#byCaller.get(caller) ?? 0
    if (this.#takenBytes + bytes > this.#limitBytes) return false
    return own === before || own + bytes <= this.#limitBytes / 2
  }

  #add(caller: string, bytes: number): void {
    this.#takenBytes += bytes
    const own = (this.#byCaller.get(caller) ?? 0) + bytes
    if (own === 0) this.#byCaller.delete(caller)
    else this.#byCaller.set(caller, own)
  }
}

/** What one document takes, as long as somebody holds it. */
export class Place {
  readonly #room: { take(bytes: number, before: number): Promise<void>; give(bytes: number): void }
  #bytes = 0
  #holders = 1

  constructor(room: { take(bytes: number, before: number): Promise<void>; give(bytes: number): void }) {
    this.#room = room
  }

  get isHeld(): boolean {
    return this.#holders > 0
  }

  /** One more holder, until the returned function is called. */
  hold(): () => void {
    this.#holders += 1
    return this.leaver()
  }

  /** Ends the part of one holder, however often it is called. */
  leaver(): () => void {
    let isHolder = true
    return () => {
      if (!isHolder) return
      isHolder = false
      this.#holders -= 1
      if (this.#holders === 0) this.shrink(0)
    }
  }

  /** Takes `bytes` in all, waiting for room. Rejects with MirrorError (overloaded) when there is none in time. */
  async grow(bytes: number): Promise<void> {
    const more = bytes - this.#bytes
    if (more <= 0) return
    await this.#room.take(more, this.#bytes)
    this.#bytes += more
    // Nobody is left to give it back.
    if (!this.isHeld) this.shrink(0)
  }

  /** Gives back what is beyond `bytes`. */
  shrink(bytes: number): void {
    const less = this.#bytes - bytes
    if (less <= 0) return
    this.#bytes = bytes
    this.#room.give(less)
  }
}

function busy(): MirrorError {
  return new MirrorError('overloaded', {
    message: 'This mirror is busy with other large answers. Try again in a moment.',
    detail: { reason: 'no room for another large document' },
  })
}
