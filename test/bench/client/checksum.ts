// The digests by which bodies are checked. Pure.

import { createHash } from 'node:crypto'
import { crc32 } from 'node:zlib'

export type DigestKind = 'crc32' | 'sha256'

/** A digest that grows piece by piece. */
export interface Checksum {
  update(piece: Uint8Array): void
  /** Lower-case hex. A crc32 may grow on after it, a sha256 may not. */
  hex(): string
}

export function checksum(kind: DigestKind): Checksum {
  if (kind === 'sha256') {
    const hash = createHash('sha256')
    return { update: (piece) => void hash.update(piece), hex: () => hash.digest('hex') }
  }
  let value = 0
  return {
    update: (piece) => {
      value = crc32(piece, value)
    },
    hex: () => value.toString(16).padStart(8, '0'),
  }
}
