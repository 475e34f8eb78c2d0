// The file of pins as it is now: it is read again when it changes. While it is wrong, what was read last stays in use. The
// file itself is understood by pins-file.ts.

import { ConfigFaults } from './faults.ts'
import { stampOf } from './files.ts'
import { type PinsFile, readPins } from './pins-file.ts'

export class FollowedPins {
  readonly #path: string
  readonly #onChange: () => void
  readonly #onFault: (faults: ConfigFaults) => void
  #file: PinsFile
  #stamp: string | undefined
  #faulty: { readonly stamp: string | undefined; isReported: boolean } | undefined

  /** Throws ConfigFaults if the file cannot be used. */
  constructor(options: {
    readonly path: string
    /** Called when a changed file is in use. */
    readonly onChange: () => void
    /**
     * Called once for each change that makes the file wrong. A fault that the next check does not find is not reported: a file
     * may be read while it is being written.
     */
    readonly onFault: (faults: ConfigFaults) => void
  }) {
    this.#path = options.path
    this.#onChange = options.onChange
    this.#onFault = options.onFault
    // Before the text, so that the next check sees a change in between.
    this.#stamp = stampOf(options.path)
    const read = readPins(options.path)
    if ('faults' in read) throw new ConfigFaults(read.faults)
    this.#file = read.file
  }

  /** What is in use. The same object until the file changes. */
  get current(): PinsFile {
    return this.#file
  }

  /** Whether the file has a fault, so that an older one is in use. */
  get isFaulty(): boolean {
    return this.#faulty?.isReported === true
  }

  /** Checks the file now. Never throws. */
  check(): void {
    const stamp = stampOf(this.#path)
    if (stamp !== undefined && stamp === this.#stamp) {
      // Perhaps the old file is back.
      this.#faulty = undefined
      return
    }
    // A wrong file is read again although it has not changed: the process may have had no free descriptor.
    const read = readPins(this.#path)
    if ('file' in read) {
      this.#file = read.file
      this.#stamp = stamp
      this.#faulty = undefined
      this.#onChange()
    } else if (this.#faulty === undefined || this.#faulty.stamp !== stamp) {
      this.#faulty = { stamp, isReported: false }
    } else if (!this.#faulty.isReported) {
      this.#faulty.isReported = true
      this.#onFault(new ConfigFaults(read.faults))
    }
  }
}
