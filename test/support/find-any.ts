// Looks for many texts in many bytes at once: one pass over the bytes, however many texts there are.

/** So many bytes of a needle are compared by number first. */
const HEAD_BYTES = 4
const FILTER_BITS = 20

/** Returns the needles that occur in the haystack, wherever they begin. A needle has at least four bytes. */
export function findAny(haystack: Buffer, needles: Iterable<string>): Set<string> {
  const byHead = new Map<number, { text: string; bytes: Buffer }[]>()
  // Most positions are ruled out by one look into this table, without a look-up in the map.
  const filter = new Uint8Array(2 ** FILTER_BITS)
  for (const text of new Set(needles)) {
    const bytes = Buffer.from(text, 'latin1')
    if (bytes.length < HEAD_BYTES) throw new Error(`too short to look for: ${JSON.stringify(text)}`)
    const head = bytes.readUInt32BE(0)
    filter[slot(head)] = 1
    byHead.set(head, [...(byHead.get(head) ?? []), { text, bytes }])
  }
  const found = new Set<string>()
  let head = 0
  for (let end = 0; end < haystack.length; end += 1) {
    head = ((head << 8) | haystack[end]!) >>> 0
    if (end < HEAD_BYTES - 1 || filter[slot(head)] === 0) continue
    const start = end - HEAD_BYTES + 1
    for (const { text, bytes } of byHead.get(head) ?? [])
      if (
        haystack.compare(bytes, 0, bytes.length, start, Math.min(start + bytes.length, haystack.length)) === 0
      )
        found.add(text)
  }
  return found
}

function slot(head: number): number {
  return Math.imul(head, 0x9e3779b1) >>> (32 - FILTER_BITS)
}
