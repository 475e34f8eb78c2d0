// A queue that is fair between callers: round robin over the callers, first in first out for the items of each.

export class FairQueue<T> {
  // In the order in which the callers are served.
  readonly #callers = new Map<string, Set<T>>()
  #size = 0

  get size(): number {
    return this.#size
  }

  /** How many callers wait. */
  get callers(): number {
    return this.#callers.size
  }

  countOf(caller: string): number {
    return this.#callers.get(caller)?.size ?? 0
  }

  hasOtherThan(caller: string): boolean {
    return this.#callers.size > (this.#callers.has(caller) ? 1 : 0)
  }

  /** Adds an item, which must be new, behind the others of the caller. A new caller comes after all others. */
  add(caller: string, item: T): void {
    const items = this.#callers.get(caller)
    if (items === undefined) this.#callers.set(caller, new Set([item]))
    else items.add(item)
    this.#size += 1
  }

  /** Removes an item. Does nothing where it is gone already. */
  remove(caller: string, item: T): void {
    const items = this.#callers.get(caller)
    if (items?.delete(item) !== true) return
    this.#size -= 1
    if (items.size === 0) this.#callers.delete(caller)
  }

  some(mayGo: (caller: string) => boolean): boolean {
    for (const caller of this.#callers.keys()) if (mayGo(caller)) return true
    return false
  }

  /** Removes and returns the first item of the first caller that may go. That caller is then served last. */
  next(mayGo: (caller: string) => boolean): T | undefined {
    for (const [caller, items] of this.#callers) {
      if (!mayGo(caller)) continue
      const [item] = items
      if (item === undefined) continue
      items.delete(item)
      this.#size -= 1
      this.#callers.delete(caller)
      if (items.size > 0) this.#callers.set(caller, items)
      return item
    }
    return undefined
  }

  /** The newest item of the caller with the most items, if that is more than `caller` would have with one more. */
  lastOfLongest(caller: string): T | undefined {
    let longest: Set<T> | undefined
    for (const items of this.#callers.values()) if (items.size > (longest?.size ?? 0)) longest = items
    if (longest === undefined || longest.size <= this.countOf(caller) + 1) return undefined
    return [...longest].at(-1)
  }
}
