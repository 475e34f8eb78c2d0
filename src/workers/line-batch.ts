// Lines that go to the main process together: one message for each would cost more than what the lines tell of. There
// they are written, since the lines of several writers would run into each other.

/** A line waits no longer than this. */
const WAIT_MS = 20
const ENOUGH_CHARS = 64 * 1024

export class LineBatch {
  readonly #send: (lines: string) => void
  #lines: string[] = []
  #chars = 0
  #timer: NodeJS.Timeout | undefined

  constructor(send: (lines: string) => void) {
    this.#send = send
  }

  /** `line` with its end. */
  add(line: string): void {
    this.#lines.push(line)
    this.#chars += line.length
    if (this.#chars >= ENOUGH_CHARS) this.flush()
    else this.#timer ??= setTimeout(() => this.flush(), WAIT_MS)
  }

  flush(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#lines.length === 0) return
    const text = this.#lines.join('')
    this.#lines = []
    this.#chars = 0
    this.#send(text)
  }
}
