// Caches for a short time where the Hub redirected a file request: to a CDN, or to the address of its bytes on the Hub
// itself. In memory only, because a signed URL is a credential.

import { MemoryCache } from '../../memory.ts'

/** How long a URL without a readable expiry is used. Signed URLs are valid for about an hour. */
const DEFAULT_LIFE_MS = 5 * 60_000
/** A URL is not used this close to its expiry: it may expire between the request and the answer. */
const MARGIN_MS = 30_000

export interface SignedUrls {
  get(name: string): URL | undefined
  /**
   * Caches `url` until shortly before it expires. `signedAt` is when the Hub sent it, by the Hub's own clock (epoch
   * ms), which is also the clock of its expiry: the mirror's wall clock may be wrong.
   */
  set(name: string, url: URL, signedAt: number | undefined): void
  /**
   * Removes `url`, unless another has taken its place. Something on the way to its host has refused it where `foreign` says so. Throws
   * if there can be no other.
   */
  invalidate(name: string, url: URL, foreign?: Error): void
}

/** `monotonic` counts how long a URL is cached; `now` (epoch ms) is used if the Hub has sent no date. */
export function createSignedUrls(clocks: {
  readonly monotonic: () => number
  readonly now: () => number
}): SignedUrls {
  const { monotonic, now } = clocks
  const memory = new MemoryCache<{ readonly url: URL; readonly until: number }>({
    maxBytes: 16 * 1024 * 1024,
    // The text, its parsed parts, and the query from which the expiry was read.
    sizeOf: ({ url }) => 500 + 4 * url.href.length,
  })
  return {
    get(name) {
      const known = memory.get(name)
      if (known === undefined) return undefined
      if (known.until > monotonic()) return known.url
      memory.delete(name)
      return undefined
    },
    set(name, url, signedAt) {
      const expiry = expiryOf(url)
      const lifeMs = expiry === undefined ? DEFAULT_LIFE_MS : expiry - (signedAt ?? now()) - MARGIN_MS
      if (lifeMs > 0) memory.set(name, { url, until: monotonic() + lifeMs })
    },
    invalidate(name, url) {
      if (memory.peek(name)?.url === url) memory.delete(name)
    },
  }
}

/** When a signed URL expires by its own text (epoch ms): CloudFront's `Expires`, or S3's date plus lifetime. */
export function expiryOf(url: URL): number | undefined {
  const expires = url.searchParams.get('Expires')
  if (expires !== null && /^\d{9,11}$/.test(expires)) return Number(expires) * 1000
  const date = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(url.searchParams.get('X-Amz-Date') ?? '')
  const life = url.searchParams.get('X-Amz-Expires')
  if (date === null || life === null || !/^\d{1,7}$/.test(life)) return undefined
  const [, year, month, day, hour, minute, second] = date.map(Number)
  const start = Date.UTC(year ?? 0, (month ?? 1) - 1, day, hour, minute, second)
  return start + Number(life) * 1000
}
