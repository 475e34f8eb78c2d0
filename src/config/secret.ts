// A value that opens something and must never be printed. It knows neither where a setting came from nor the disk:
// whoever reads the secret from a file hands in a function that looks at the file.
import { inspect } from 'node:util'

/** What every way of printing a secret shows instead of it. */
export const MASK = '•••'

/** How long a secret from a file is believed before its file is looked at again. */
const RECHECK_MS = 1000

/** One look at a secret's file: `stamp` changes whenever the file does; `read` is called only when it did. */
export interface SecretFile {
  /** Undefined while the file is missing or cannot be read. */
  stamp(): string | undefined
  /** The whole file, as it is; undefined when it cannot be read. */
  read(): string | undefined
  /** When it was last written, epoch ms; undefined while it is missing. */
  writtenAt(): number | undefined
}

/**
 * A secret setting. String conversion, JSON and `util.inspect` all give a mask; only `reveal` gives the value, and
 * callers keep that value no longer than one request, because a secret from a file may change.
 */
export class Secret {
  readonly #current: () => string
  readonly #writtenAt: () => number | undefined
  #onRefused: ((fault: string) => void) | undefined

  private constructor(current: () => string, writtenAt: () => number | undefined) {
    this.#current = current
    this.#writtenAt = writtenAt
  }

  /** Sets the listener that is told why new content of the secret's file is not used. It never gets any of that content. */
  onRefused(listener: (fault: string) => void): void {
    this.#onRefused = listener
  }

  /** A secret that never changes. */
  static of(value: string): Secret {
    return new Secret(
      () => value,
      () => undefined,
    )
  }

  /**
   * A secret that follows its file. `faultOf` says why a text must not replace the value (a half-written file must
   * not); while the file is missing, unreadable or not acceptable, the last good value stays. The listener of `onRefused`
   * is called once per change of the file that is not acceptable.
   */
  static following(options: {
    readonly initial: string
    readonly initialStamp: string | undefined
    readonly file: SecretFile
    readonly faultOf: (text: string) => string | undefined
    readonly now: () => number
  }): Secret {
    const { file, faultOf, now } = options
    let value = options.initial
    let seen = options.initialStamp
    let refused: string | undefined
    let lookedAt = now()
    const secret: Secret = new Secret(
      () => {
        const at = now()
        // A clock that steps back must not stop the looking, hence the second comparison.
        if (at - lookedAt < RECHECK_MS && at >= lookedAt) return value
        lookedAt = at
        // The stamp is taken before the text, so that a write in between is seen at the next look.
        const stamp = file.stamp()
        if (stamp === undefined || stamp === seen) return value
        const text = file.read()
        const next = text === undefined ? '' : trimSecret(text)
        if (next === '') return value
        const fault = faultOf(next)
        if (fault !== undefined) {
          if (refused !== stamp) secret.#onRefused?.(fault)
          refused = stamp
          return value
        }
        value = next
        seen = stamp
        return value
      },
      () => file.writtenAt(),
    )
    return secret
  }

  /** The value itself. Never throws; looks at the secret's file at most once a second. */
  reveal(): string {
    return this.#current()
  }

  /** When its file was last written, epoch ms; undefined for a secret that never changes, or whose file is gone. */
  writtenAt(): number | undefined {
    return this.#writtenAt()
  }

  toString(): string {
    return MASK
  }

  toJSON(): string {
    return MASK
  }

  [inspect.custom](): string {
    return MASK
  }
}

/** Drops the line end that editors and `echo` leave behind the value, and nothing else. */
export function trimSecret(text: string): string {
  return text.replace(/(?:\r?\n)+$/, '')
}
