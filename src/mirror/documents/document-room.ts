// Bounds the memory of all large documents together, while they arrive from the Hub and while clients take them. A request
// that finds no room waits for a while. No caller can have all of the room.

import { MirrorError } from '../../errors.ts'

/** Twice the largest document. */
const ROOM_BYTES = 256 * 1024 * 1024
/** A request may wait twice, the second time for the stored answer. Python gives up after 10 s without an answer. */
const PATIENCE_MS = 4_000
/** Requests that wait may hold memory themselves, so their number is bounded. */
const MAX_WAITING = 256

interface Wish {
  readonly caller: string
  readonly bytes: number
  /** How many bytes the same document holds already. */
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

  /** Records that `body` is the document that arrived at `place`. */
  settle(place: Place, body: Buffer): void {
    this.#places.set(body, place)
  }

  /**
   * Holds a document that is in memory until the returned function is called; further calls do nothing. A document that
   * others hold takes no more room. Rejects with MirrorError (overloaded) when there is no room in time.
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
        // Others behind it in the queue may fit now.
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

  /** Serves waiters in order. Skips a caller that is over its share, but not a waiter for which there is too little room. */
  #next(): void {
    for (const waiter of this.#waiting) {
      if (this.#takenBytes + waiter.bytes > this.#limitBytes) return
      if (!this.#fits(waiter)) continue
      this.#waiting.delete(waiter)
      waiter.go()
    }
  }

  /** A caller may hold half of the room, or one document of any size. */
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

/** The memory of one document for as long as it has a holder. */
export class Place {
  readonly #room: { take(bytes: number, before: number): Promise<void>; give(bytes: number): void }
  #bytes = 0
  #references = 1

  constructor(room: { take(bytes: number, before: number): Promise<void>; give(bytes: number): void }) {
    this.#room = room
  }

  get isHeld(): boolean {
    return this.#references > 0
  }

  /** Adds a holder, until the returned function is called. */
  hold(): () => void {
    this.#references += 1
    return this.leaver()
  }

  /** Returns a function that removes one holder; further calls do nothing. */
  leaver(): () => void {
    let isHolder = true
    return () => {
      if (!isHolder) return
      isHolder = false
      this.#references -= 1
      if (this.#references === 0) this.shrink(0)
    }
  }

  /** Grows to `bytes` in total, waiting for room. Rejects with MirrorError (overloaded) when there is no room in time. */
  async grow(bytes: number): Promise<void> {
    const more = bytes - this.#bytes
    if (more <= 0) return
    await this.#room.take(more, this.#bytes)
    this.#bytes += more
    // All holders left while this waited.
    if (!this.isHeld) this.shrink(0)
  }

  /** Gives back all memory beyond `bytes`. */
  shrink(bytes: number): void {
    const less = this.#bytes - bytes
    if (less <= 0) return
    this.#bytes = bytes
    this.#room.give(less)
  }
}

function busy(): MirrorError {
  return new MirrorError('overloaded', {
    message: 'This mirror is busy with other large responses. Try again in a moment.',
    detail: { reason: 'no room for another large document' },
  })
}
