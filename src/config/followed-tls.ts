// The files of the mirror's own TLS as they are now: they are read again when one of them changes. While they are wrong
// together, what was read last stays in use. The files themselves are understood by tls-files.ts.

import { stampOf } from './files.ts'
import { RECHECK_MS } from './secret.ts'
import { readTls, type TlsFault, type TlsMaterial, type TlsPaths } from './tls-files.ts'

export class FollowedTls {
  readonly #paths: TlsPaths
  readonly #monotonic: () => number
  readonly #onChange: (material: TlsMaterial) => void
  readonly #onFault: (fault: TlsFault) => void
  #material: TlsMaterial
  #stamp: string
  #checkedAt: number
  #faulty: { readonly stamp: string; isReported: boolean } | undefined

  /** Throws the cure if the files cannot be used. */
  constructor(options: {
    readonly paths: TlsPaths
    /** Monotonic time in milliseconds. */
    readonly monotonic: () => number
    /** Called when changed files are in use. */
    readonly onChange: (material: TlsMaterial) => void
    /**
     * Called once for each change that makes the files wrong. A fault that the next check does not find is not reported: a
     * certificate and its key are often replaced one after the other.
     */
    readonly onFault: (fault: TlsFault) => void
  }) {
    this.#paths = options.paths
    this.#monotonic = options.monotonic
    this.#onChange = options.onChange
    this.#onFault = options.onFault
    this.#checkedAt = options.monotonic()
    // Before the text, so that the next check sees a change in between.
    this.#stamp = this.#stampNow()
    const read = readTls(options.paths)
    if ('fault' in read) throw new Error(`${options.paths[read.fault.name] ?? ''}: ${read.fault.cure}`)
    this.#material = read.material
  }

  /** What is in use. Checks the files at most once a second. The same object until a file changes. */
  current(): TlsMaterial {
    if (this.#monotonic() - this.#checkedAt >= RECHECK_MS) this.check()
    return this.#material
  }

  /** Checks the files now. Never throws. */
  check(): void {
    this.#checkedAt = this.#monotonic()
    const stamp = this.#stampNow()
    if (stamp === this.#stamp) {
      // Perhaps the old files are back.
      this.#faulty = undefined
      return
    }
    // Wrong files are read again although they have not changed: the process may have had no free descriptor.
    const read = readTls(this.#paths)
    if ('material' in read) {
      this.#material = read.material
      this.#stamp = stamp
      this.#faulty = undefined
      this.#onChange(read.material)
      return
    }
    if (this.#faulty?.stamp !== stamp) {
      this.#faulty = { stamp, isReported: false }
    } else if (!this.#faulty.isReported) {
      this.#faulty.isReported = true
      this.#onFault(read.fault)
    }
  }

  #stampNow(): string {
    const { tlsCert, tlsKey, tlsClientCa } = this.#paths
    return [tlsCert, tlsKey, tlsClientCa].map((path) => path && (stampOf(path) ?? 'absent')).join('\n')
  }
}
