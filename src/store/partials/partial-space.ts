// The account of one partial in the ledger: its entry, the pin that keeps it from eviction, and the room that was
// promised to it. It is settled once; whatever is promised afterwards is given back at once. Knows no files.

import type { BlobKey } from '../digest.ts'
import type { Ledger, Reservation } from '../ledger.ts'
import { partialName } from './partial-name.ts'

export class PartialSpace {
  readonly #ledger: Ledger
  readonly #key: BlobKey
  readonly #unpin: () => void
  readonly #isFile: boolean
  readonly #reservations: Reservation[] = []
  #queue: Promise<unknown> = Promise.resolve()
  #settled = false

  /** Enters a partial of which `presentBytes` are there, and pins it. `isFile`: its blob will be a file. */
  constructor(ledger: Ledger, key: BlobKey, presentBytes: number, isFile: boolean) {
    this.#ledger = ledger
    this.#isFile = isFile
    this.#key = key
    ledger.add(partialName(key), presentBytes)
    this.#unpin = ledger.pin(partialName(key))
  }

  /**
   * Makes room for what `lackingBytes` says, which is given what is promised so far. One at a time: the second caller
   * must see what the first was promised, and not ask for the same room again. False when there is no room.
   */
  reserve(lackingBytes: (promisedBytes: number) => number): Promise<boolean> {
    const reserved = this.#queue.then(async () => {
      const bytes = lackingBytes(this.#reservations.reduce((sum, { leftBytes }) => sum + leftBytes, 0))
      if (bytes <= 0) return true
      const reservation = await this.#ledger.reserve(bytes, { isFile: this.#isFile })
      if (reservation === undefined) return false
      if (this.#settled) reservation.release()
      else this.#reservations.push(reservation)
      return true
    })
    this.#queue = reserved
    return reserved
  }

  /** Counts `bytes` that have landed, with which the partial has `presentBytes`. */
  landed(bytes: number, presentBytes: number): void {
    if (this.#settled) return
    this.#ledger.add(partialName(this.#key), presentBytes)
    let left = bytes
    for (const reservation of this.#reservations) left -= reservation.spend(left)
    while (this.#reservations[0]?.leftBytes === 0) this.#reservations.shift()
  }

  /** Enters what has become of the partial: the blob, a partial that can be resumed, or nothing. Only the first call counts. */
  settle(outcome: 'committed' | 'kept' | 'gone', sizeBytes: number): void {
    if (this.#settled) return
    this.#settled = true
    for (const reservation of this.#reservations) reservation.release()
    this.#unpin()
    if (outcome === 'kept') {
      this.#ledger.add(partialName(this.#key), sizeBytes)
      return
    }
    this.#ledger.drop(partialName(this.#key))
    if (outcome === 'committed') this.#ledger.add(this.#key, sizeBytes)
  }
}
