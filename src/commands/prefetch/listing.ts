// Which files a revision of a repo has, as a client of the Hub finds out: by its info, and the listing of the commit. The
// mirror stores both, and with them it answers every other client while it is offline.

import { apiPath, isCommitHash, type Repo } from '../../hub/names.ts'
import { encodeSegment } from '../../hub/url-text.ts'
import { isRecord, parseRecord } from '../../records.ts'
import type { BlobKey } from '../../store/digest.ts'
import { type Asking, askAgain } from './attempts.ts'
import { type RefusalKind, type Reply, refusalKind, refusalText } from './control-client.ts'

/** More than the Hub allows in a repo. Pages without end would fill the memory. */
const MAX_FILES = 5_000_000

/** A repo that is to be fetched. */
export interface Wanted {
  readonly repo: Repo
  readonly revision: string
}

export interface ListedFile {
  readonly path: string
  readonly sizeBytes: number
  /** Under which key its bytes are stored. Undefined if the listing names no digest. */
  readonly key?: BlobKey | undefined
}

export interface Listing {
  readonly commit: string
  readonly files: readonly ListedFile[]
}

/** The repo cannot be listed. The message says why. */
export class NoListing extends Error {
  readonly kind: RefusalKind

  constructor(message: string, kind: RefusalKind = 'failed') {
    super(message)
    this.name = 'NoListing'
    this.kind = kind
  }
}

/** Lists all files of a revision. Rejects with NoListing, and with MirrorGone. */
export async function listFiles({ repo, revision }: Wanted, asking: Asking): Promise<Listing> {
  const api = apiPath(repo)
  const info = parseRecord((await read(`${api}/revision/${encodeSegment(revision)}`, asking)).text)
  const commit = info?.['sha']
  if (typeof commit !== 'string' || !isCommitHash(commit))
    throw new NoListing('the info of the repo names no commit')
  const files = await listCommit(`${api}/tree/${commit}?recursive=true&expand=false`, asking)
  await readRefs(`${api}/refs`, asking)
  return { commit, files }
}

async function listCommit(first: string, asking: Asking): Promise<ListedFile[]> {
  const files: ListedFile[] = []
  const seen = new Set<string>()
  for (let target: string | undefined = first; target !== undefined; ) {
    if (seen.has(target)) throw new NoListing('the pages of the listing lead back to an earlier page')
    seen.add(target)
    const page: Reply = await read(target, asking)
    for (const file of filesOf(page.text)) files.push(file)
    if (files.length > MAX_FILES)
      throw new NoListing(`the listing of the repo has more than ${MAX_FILES} files`)
    target = nextTarget(page.headers['link'])
  }
  return files
}

/** Some clients find the commit of a branch in the list of refs. No file depends on it. */
async function readRefs(target: string, asking: Asking): Promise<void> {
  try {
    await read(target, asking)
  } catch (error) {
    if (!(error instanceof NoListing)) throw error
  }
}

async function read(target: string, asking: Asking): Promise<Reply> {
  const reply = await askAgain(target, asking)
  if (reply.status !== 200) throw new NoListing(refusalText(reply), refusalKind(reply))
  return reply
}

function filesOf(text: string): readonly ListedFile[] {
  let items: unknown
  try {
    items = JSON.parse(text)
  } catch {
    items = undefined
  }
  if (!Array.isArray(items)) throw new NoListing('the listing of the repo cannot be read')
  return items.flatMap((item: unknown): ListedFile[] => {
    if (!isRecord(item) || item['type'] !== 'file') return []
    const { path, size } = item
    if (typeof path !== 'string' || typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0)
      throw new NoListing('the listing of the repo has a file without a name or a size')
    return [{ path, sizeBytes: size, key: keyOf(item) }]
  })
}

/** The key of a file in a tree: the sha256 of a Git LFS object, or the hash of a git blob. */
function keyOf({ oid, lfs }: Record<string, unknown>): BlobKey | undefined {
  if (!isRecord(lfs))
    return typeof oid === 'string' && /^[0-9a-f]{40}$/.test(oid) ? `gitsha1:${oid}` : undefined
  const sha256 = lfs['oid']
  return typeof sha256 === 'string' && /^[0-9a-f]{64}$/.test(sha256) ? `sha256:${sha256}` : undefined
}

/** The names of the branches and tags of a repo. Rejects with NoListing, and with MirrorGone. */
export async function listRevisions(repo: Repo, asking: Asking): Promise<ReadonlySet<string>> {
  const refs = parseRecord((await read(`${apiPath(repo)}/refs`, asking)).text)
  const names = [refs?.['branches'], refs?.['tags']].flatMap((list) =>
    Array.isArray(list) ? (list as unknown[]) : [],
  )
  return new Set(
    names.flatMap((ref) => (isRecord(ref) && typeof ref['name'] === 'string' ? [ref['name']] : [])),
  )
}

/** The target of the next page. It is a URL of the mirror as clients know it; its base path is not part of the target. */
function nextTarget(link: string | string[] | undefined): string | undefined {
  const text = Array.isArray(link) ? link.join(', ') : link
  const url = /<([^>]+)>\s*;\s*rel="?next"?/.exec(text ?? '')?.[1]
  if (url === undefined) return undefined
  const { pathname, search } = new URL(url, 'http://localhost')
  const start = pathname.indexOf('/api/')
  if (start === -1) throw new NoListing('the listing of the repo names a next page that is none of the Hub')
  return pathname.slice(start) + search
}
