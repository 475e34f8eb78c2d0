// Rewrites the URLs in the response to a Git LFS batch to the mirror.

import type { Logger } from 'pino'
import { MirrorError } from '../../errors.ts'
import { HOP_BY_HOP, isHeaderSafe } from '../../http/headers.ts'
import { rewriteBatchAnswer, type TransferUrl } from '../../hub/lfs-batch.ts'
import type { Repo } from '../../hub/names.ts'
import { type RewriteBases, rewriteLocation } from '../../hub/rewrite.ts'
import { yieldToEventLoop } from '../../mirror/turns.ts'
import { expiryOf } from '../../origin/files/signed-urls.ts'
import { type RedirectPolicy, redirectTarget } from '../../origin/redirect.ts'
import { TRANSFER_PATH, type TransferLinks } from './transfer-links.ts'

/** The lifetime of a URL that does not say how long it is valid. */
const DEFAULT_LIFE_MS = 60 * 60_000
/** The longest lifetime that S3 signs. */
const MAX_LIFE_MS = 7 * 24 * 60 * 60_000
/** Fields that a link never carries: credentials are between client and Hub, and the mirror frames its own requests. */
const NOT_SEALED = new Set(['authorization', 'cookie', 'host', 'content-length', 'expect', ...HOP_BY_HOP])
const MAX_NAMED_HOSTS = 100
/** The longest name of a host is 253 characters. What is longer is no name, and fits into no header field. */
const MAX_HOST_CHARS = 255
/** How many links are made in one turn of the event loop: some milliseconds. An upload may have ten thousand parts. */
const LINKS_PER_TURN = 64

export interface BatchLinksOptions {
  readonly links: TransferLinks
  readonly policy: RedirectPolicy
  readonly bases: RewriteBases
  readonly repo: Repo | undefined
  readonly mayStore: (sizeBytes: number) => boolean
  /** Called with each object for whose bytes a link is made. */
  readonly onLink: (repo: Repo, oid: string) => void
}

/**
 * Rewrites the response: a URL of the origin becomes the same one at the mirror, and any other a sealed link. `outside`
 * names the hosts that the redirect policy does not allow; their URLs stay unchanged. Resolves with undefined if the body
 * is no response to a batch. Rejects with origin_bad_answer if it has something in place of a URL.
 */
export async function rewriteBatch(
  body: Buffer,
  options: BatchLinksOptions,
): Promise<{ readonly body: Buffer; readonly outside: ReadonlySet<string> } | undefined> {
  const outside = new Set<string>()
  let made = 0
  const rewritten = await rewriteBatchAnswer(body, async (link) => {
    made += 1
    if (made % LINKS_PER_TURN === 0) await yieldToEventLoop()
    const address = transferAddress(link, options)
    if (typeof address === 'string') return address
    outside.add(address.host.slice(0, MAX_HOST_CHARS))
    return link.url
  })
  return rewritten && { body: rewritten, outside }
}

function transferAddress(link: TransferUrl, options: BatchLinksOptions): string | { readonly host: string } {
  const { policy, bases } = options
  const { mirrorBase } = bases
  const asked = new URL(policy.base)
  const place = rewriteLocation(link.url, asked, bases)
  // The origin may be a mirror. Only that mirror can open its own links.
  const isForeignLink = place.kind === 'mirror' && place.location.includes(TRANSFER_PATH)
  if (place.kind === 'mirror' && !isForeignLink) return new URL(place.location, mirrorBase).href
  let url: URL
  try {
    url = redirectTarget(policy, asked, link.url)
  } catch (error) {
    if (!(error instanceof MirrorError)) throw error
    return { host: new URL(link.url, asked).host }
  }
  const sealed = seal(link, url, options)
  return sealed === undefined ? { host: url.host } : `${mirrorBase}${TRANSFER_PATH}${sealed}`
}

function seal(
  { method, oid, sizeBytes, headers, lifeSeconds, content }: TransferUrl,
  url: URL,
  { links, repo, mayStore, onLink }: BatchLinksOptions,
): string | undefined {
  if (repo === undefined || !/^[0-9a-f]{64}$/.test(oid) || !Number.isSafeInteger(sizeBytes) || sizeBytes < 0)
    return undefined
  if (method === 'GET') onLink(repo, oid)
  const life = lifeSeconds === undefined ? DEFAULT_LIFE_MS : lifeSeconds * 1000
  const expiresAt = Math.min(expiryOf(url) ?? links.now() + life, links.now() + MAX_LIFE_MS)
  const kept = Object.entries(headers)
    .map(([name, value]) => [name.toLowerCase(), value] as const)
    .filter(([name, value]) => /^[\w-]+$/.test(name) && !NOT_SEALED.has(name) && isHeaderSafe(value))
  return links.seal({
    url,
    method,
    repo,
    oid,
    sizeBytes,
    headers: Object.fromEntries(kept),
    mayStore: mayStore(sizeBytes),
    expiresAt,
    content,
  })
}

/** Returns a function that warns the operator once of each host to which transfers bypass the mirror. */
export function createHostWarnings(logger: Pick<Logger, 'warn'>): (hosts: Iterable<string>) => void {
  const named = new Set<string>()
  return (hosts) => {
    for (const host of hosts) {
      if (named.has(host) || named.size >= MAX_NAMED_HOSTS) continue
      named.add(host)
      logger.warn(
        { host },
        'Git LFS transfers bypass the mirror: add the host to HUBMIRROR_REDIRECT_HOSTS if you trust it',
      )
    }
  }
}
