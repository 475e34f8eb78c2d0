// Bounds the memory of all large documents together, while they arrive from the Hub and while clients take them. A request
// that finds no space waits for a while. No caller can have all of it.

import { MirrorError } from '../../errors.ts'
import { type Observer, silentObserver } from '../../telemetry/observer.ts'

/** Twice the largest document. */
const LIMIT_BYTES = 256 * 1024 * 1024
/** A request may wait twice, the second time for the stored answer. Python gives up after 10 s without an answer. */
const MAX_WAIT_MS = 4_000
/** Requests that wait may hold memory themselves, so their number is bounded. */
const MAX_WAITING = 256

interface Request {
  readonly caller: string
  readonly bytes: number
  /** How many bytes the same document holds already. */
  readonly before: number
}

interface Waiter extends Request {
  readonly go: () => void
}

export class DocumentMemory {
  readonly #limitBytes: number
  readonly #maxWaitMs: number
  readonly #observer: Pick<Observer, 'documentMemoryChanged'>
  readonly #byCaller = new Map<string, number>()
  readonly #waiting = new Set<Waiter>()
  readonly #spaces = new WeakMap<Buffer, DocumentSpace>()
  #takenBytes = 0

  constructor(
    options: {
      readonly limitBytes?: number
      readonly maxWaitMs?: number
      readonly observer?: Pick<Observer, 'documentMemoryChanged'>
    } = {},
  ) {
    this.#limitBytes = options.limitBytes ?? LIMIT_BYTES
    this.#maxWaitMs = options.maxWaitMs ?? MAX_WAIT_MS
    this.#observer = options.observer ?? silentObserver
  }

  /** How much is taken now. */
  get takenBytes(): number {
    return this.#takenBytes
  }

  /** How many wait. */
  get waiting(): number {
    return this.#waiting.size
  }

  /** The space of a document that is about to arrive, with one holder. */
  open(caller: string): DocumentSpace {
    return new DocumentSpace({
      take: (bytes, before) => this.#take({ caller, bytes, before }),
      give: (bytes) => this.#give(caller, bytes),
    })
  }

  /** Records that `body` is the document that arrived in `space`. */
  settle(space: DocumentSpace, body: Buffer): void {
    this.#spaces.set(body, space)
  }

  /**
   * Holds a document that is in memory until the returned function is called; further calls do nothing. A document that
   * others hold takes no more space. Rejects with MirrorError (overloaded) when there is no space in time.
   */
  async hold(body: Buffer, caller: string): Promise<() => void> {
    const known = this.#spaces.get(body)
    if (known?.isHeld === true) return known.hold()
    const space = this.open(caller)
    const leave = space.releaser()
    try {
      await space.grow(body.length)
    } catch (error) {
      leave()
      throw error
    }
    this.#spaces.set(body, space)
    return leave
  }

  #take(request: Request): Promise<void> {
    const { caller, bytes } = request
    if (this.#waiting.size === 0 && this.#fits(request)) {
      this.#add(caller, bytes)
      return Promise.resolve()
    }
    if (this.#waiting.size >= MAX_WAITING) return Promise.reject(busy())
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => {
        this.#waiting.delete(waiter)
        this.#report()
        reject(busy())
        // Others behind it in the queue may fit now.
        this.#next()
      }, this.#maxWaitMs)
      const go = (): void => {
        clearTimeout(late)
        this.#add(caller, bytes)
        resolve()
      }
      const waiter = { ...request, go }
      this.#waiting.add(waiter)
      this.#report()
      this.#next()
    })
  }

  #give(caller: string, bytes: number): void {
    this.#add(caller, -bytes)
    this.#next()
  }

  /** Serves waiters in order. Skips a caller that is over its share, but not a waiter for which there is too little space. */
  #next(): void {
    for (const waiter of this.#waiting) {
      if (this.#takenBytes + waiter.bytes > this.#limitBytes) return
      if (!this.#fits(waiter)) continue
      this.#waiting.delete(waiter)
      waiter.go()
    }
  }

  /** A caller may hold half of the memory, or one document of any size. */
  #fits({ caller, bytes, before }: Request): boolean {
    const own = this.#byCaller.get(caller) ?? 0
    if (this.#takenBytes + bytes > this.#limitBytes) return false
    return own === before || own + bytes <= this.#limitBytes / 2
  }

  #add(caller: string, bytes: number): void {
    this.#takenBytes += bytes
    const own = (this.#byCaller.get(caller) ?? 0) + bytes
    if (own === 0) this.#byCaller.delete(caller)
    else this.#byCaller.set(caller, own)
    this.#report()
  }

  #report(): void {
    this.#observer.documentMemoryChanged({ takenBytes: this.#takenBytes, waiting: this.#waiting.size })
  }
}

/** The memory of one document for as long as it has a holder. */
export class DocumentSpace {
  readonly #memory: { take(bytes: number, before: number): Promise<void>; give(bytes: number): void }
  #bytes = 0
  #references = 1

  constructor(memory: { take(bytes: number, before: number): Promise<void>; give(bytes: number): void }) {
    this.#memory = memory
  }

  get isHeld(): boolean {
    return this.#references > 0
  }

  /** Adds a holder, until the returned function is called. */
  hold(): () => void {
    this.#references += 1
    return this.releaser()
  }

  /** Returns a function that removes one holder; further calls do nothing. */
  releaser(): () => void {
    let isHolder = true
    return () => {
      if (!isHolder) return
      isHolder = false
      this.#references -= 1
      if (this.#references === 0) this.shrink(0)
    }
  }

  /** Grows to `bytes` in total, waiting for space. Rejects with MirrorError (overloaded) when there is no space in time. */
  async grow(bytes: number): Promise<void> {
    const more = bytes - this.#bytes
    if (more <= 0) return
    await this.#memory.take(more, this.#bytes)
    this.#bytes += more
    // All holders left while this waited.
    if (!this.isHeld) this.shrink(0)
  }

  /** Gives back all memory beyond `bytes`. */
  shrink(bytes: number): void {
    const less = this.#bytes - bytes
    if (less <= 0) return
    this.#bytes = bytes
    this.#memory.give(less)
  }
}

function busy(): MirrorError {
  return new MirrorError('overloaded', {
    message: 'This mirror is busy with other large responses. Try again in a moment.',
    detail: { reason: 'no room for another large document' },
  })
}
