// A secret value that must never be printed. This file knows neither the source of a setting nor the disk: for a secret
// from a file, the caller hands in functions that read the file.
import { inspect } from 'node:util'

/** The text that is printed instead of a secret. */
export const MASK = '•••'

/** How long the content of a file is used before the file is checked again. */
export const RECHECK_MS = 1000

/** Access to the file of a secret. */
export interface SecretFile {
  /** A text that changes whenever the file changes; undefined while the file is missing or unreadable. */
  stamp(): string | undefined
  /** The whole content of the file; undefined if it cannot be read. Called only after a change of the stamp. */
  read(): string | undefined
  /** When the file was last written, epoch ms; undefined while it is missing. */
  writtenAt(): number | undefined
}

/**
 * A secret setting. String conversion, JSON and `util.inspect` all return a mask. Only `reveal` returns the value. Callers
 * must not keep that value longer than one request, because a secret from a file may change.
 */
export class Secret {
  readonly #current: () => string
  readonly #writtenAt: () => number | undefined
  #onRefused: ((fault: string) => void) | undefined

  private constructor(current: () => string, writtenAt: () => number | undefined) {
    this.#current = current
    this.#writtenAt = writtenAt
  }

  /**
   * Sets the listener for faults of new content in the secret's file. It is called once per change of the file, and never
   * gets any of the content.
   */
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
   * A secret that follows its file. `faultOf` says why a text must not replace the value, such as that of a half-written
   * file. While the file is missing, unreadable or has a fault, the last valid value stays in use.
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
    let checkedAt = now()
    const secret: Secret = new Secret(
      () => {
        const at = now()
        // The second comparison keeps the checks going after the clock has stepped back.
        if (at - checkedAt < RECHECK_MS && at >= checkedAt) return value
        checkedAt = at
        // The stamp is taken before the text, so that the next check sees a write in between.
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

  /** The value itself. Never throws. Checks the secret's file at most once a second. */
  reveal(): string {
    return this.#current()
  }

  /** When the secret's file was last written, epoch ms; undefined for a secret without a file, or if the file is missing. */
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

/** Removes the line ends that editors and `echo` append to the value, and nothing else. */
export function trimSecret(text: string): string {
  return text.replace(/(?:\r?\n)+$/, '')
}
