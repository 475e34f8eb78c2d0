// `hubmirror bundle load`: brings what a bundle holds into the store, through the running mirror or the store that this process
// opens. The mirror compares all bytes with their digest before they get their name. What makes a repo readable comes
// last, so an interrupted load shows nothing, and the next one goes on with the files that are not stored yet.

import { repoKey } from '../../hub/names.ts'
import type { Standing } from '../../mirror/intake.ts'
import type { BlobKey } from '../../store/digest.ts'
import { formatRepo } from '../repo-argument.ts'
import { formatSize, plural, printable } from '../store-output.ts'
import { type IntakeClient, Refused, StoreFull } from './intake-client.ts'
import {
  type BundledBlob,
  type BundledDocument,
  type BundledFile,
  type BundledRef,
  type BundledRepo,
  isAboutBranches,
  isJson,
  MAX_DOCUMENT_BYTES,
  type Manifest,
} from './manifest.ts'
import { digestOf, type Expected, expectedMembers, type OpenBundle, readMember, sizeOf } from './read.ts'
import { BadArchive, type Member } from './tar.ts'

/** Rows of one request. */
const ROWS_AT_ONCE = 1_000
/** Of one request that finishes repos: a quarter of what the mirror takes. It reads the keys of all its documents for each. */
const FINISH_BYTES = 4 * 1024 * 1024

/** A repo that the mirror takes. */
interface RepoLoad {
  readonly row: BundledRepo
  readonly files: readonly BundledFile[]
  readonly refs: readonly BundledRef[]
  /**
   * What is about branches, with its bytes. A mirror that knows no commit of a branch looks into the lists of refs, so they are sent
   * last, and manifests of the registry behind the commits of the branches.
   */
  readonly held: { readonly document: BundledDocument; readonly body: Buffer }[]
}

export interface LoadReport {
  readonly publicRepos: readonly string[]
  /** Private or gated, and named by a rule. */
  readonly ruledRepos: readonly string[]
  readonly leftOut: readonly { readonly name: string; readonly standing: Standing }[]
  readonly files: number
  readonly fetched: { readonly count: number; readonly sizeBytes: number }
}

/** Rejects with BadArchive, with Refused, with MirrorGone, and with the reason of `signal`. */
export function loadBundle(
  bundle: OpenBundle,
  options: {
    readonly client: IntakeClient
    readonly signal: AbortSignal
    readonly say: (line: string) => void
  },
): Promise<LoadReport> {
  return new Load(bundle, options).run()
}

class Load {
  readonly #bundle: OpenBundle
  readonly #client: IntakeClient
  readonly #signal: AbortSignal
  readonly #say: (line: string) => void
  #fetchedCount = 0
  #fetchedBytes = 0

  constructor(
    bundle: OpenBundle,
    options: {
      readonly client: IntakeClient
      readonly signal: AbortSignal
      readonly say: (line: string) => void
    },
  ) {
    this.#bundle = bundle
    this.#client = options.client
    this.#signal = options.signal
    this.#say = options.say
  }

  async run(): Promise<LoadReport> {
    const { manifest, members } = this.#bundle
    const standings = await this.#standings(manifest)
    const welcome = welcomeRepos(manifest, standings)
    const loads = [...welcome.values()]
    const needed = neededBlobs(manifest, welcome)
    const blobs = manifest.blobs.filter(({ key }) => needed.has(key))
    const looked = await this.#client.look(blobs)
    const { missing } = looked
    this.#checkBase(blobs.filter(({ key, isCarried }) => !isCarried && missing.has(key)))
    await this.#client.requireRoom(blobs, looked)

    const left = expectedMembers(manifest)
    for await (const member of members) {
      this.#signal.throwIfAborted()
      const expected = takeExpected(left, member)
      if (expected.kind === 'blob') {
        if (missing.has(expected.blob.key)) await this.#sendBlob(member, expected.blob)
      } else await this.#sendDocuments(member, expected.documents, welcome)
    }
    const [gone] = left.keys()
    if (gone !== undefined)
      throw new BadArchive(
        `${gone} is missing${left.size > 1 ? `, and ${left.size - 1} more` : ''}: the bundle was cut short`,
      )

    await this.#client.requireStored(blobs)
    await this.#finish(loads)
    return {
      publicRepos: namesOf(loads.filter(({ row }) => row.isPublic)),
      ruledRepos: namesOf(loads.filter(({ row }) => !row.isPublic)),
      leftOut: manifest.repos.flatMap(({ repo }) => {
        const standing = standings.get(repoKey(repo)) ?? 'no-rule'
        return standing === 'welcome' ? [] : [{ name: formatRepo(repo), standing }]
      }),
      files: loads.reduce((sum, { files }) => sum + files.length, 0),
      fetched: { count: this.#fetchedCount, sizeBytes: this.#fetchedBytes },
    }
  }

  async #standings({ repos }: Manifest): Promise<ReadonlyMap<string, Standing>> {
    const { standings } = await this.#client.ask('standing', { repos: repos.map(rowOf) })
    const list = Array.isArray(standings) ? (standings as unknown[]) : []
    return new Map(repos.map(({ repo }, index) => [repoKey(repo), list[index] as Standing]))
  }

  /** Throws Refused if blobs are `absent` that the bundle does not carry. */
  #checkBase(absent: readonly BundledBlob[]): void {
    if (absent.length === 0) return
    const { since = 'another one' } = this.#bundle.head
    throw new Refused(
      `this bundle builds on the bundle ${since}, of which ${plural(absent.length, 'blob')} ` +
        `(${formatSize(sumOf(absent))}) are not stored here. Load that bundle first`,
    )
  }

  async #sendBlob(member: Member, blob: BundledBlob): Promise<void> {
    const { key, sizeBytes } = blob
    try {
      await this.#client.send('blob', { key, sizeBytes }, member.bytes)
    } catch (error) {
      if (!(error instanceof Refused) || error instanceof StoreFull) throw error
      const file = this.#bundle.manifest.files.find((one) => one.key === key)
      const name = file === undefined ? key : `${formatRepo(file.repo)}/${printable(file.path)}`
      throw new Refused(`${name}: ${error.message}`)
    }
    this.#fetchedCount += 1
    this.#fetchedBytes += sizeBytes
    if (sizeBytes > 64 * 1024 * 1024) this.#say(`${key.slice(0, 19)} ${formatSize(sizeBytes)}`)
  }

  async #sendDocuments(
    member: Member,
    documents: readonly BundledDocument[],
    welcome: ReadonlyMap<string, RepoLoad>,
  ): Promise<void> {
    const body = await readMember(member, MAX_DOCUMENT_BYTES)
    if (digestOf(body) !== documents[0]?.sha256 || !isJson(body))
      throw new BadArchive(`${member.name} is damaged`)
    for (const document of documents) {
      const load = welcome.get(repoKey(document.repo))
      if (load === undefined) continue
      if (isAboutBranches(document)) load.held.push({ document, body })
      else await this.#sendDocument(load.row, document, body)
    }
  }

  async #sendDocument(
    row: BundledRepo,
    { target, commit, next, registry }: BundledDocument,
    body: Buffer,
  ): Promise<void> {
    await this.#client.send('document', { repo: rowOf(row), target, commit, next, registry }, [body])
  }

  async #finish(loads: readonly RepoLoad[]): Promise<void> {
    let repos: unknown[] = []
    let sizeBytes = 0
    for (const { row, files, refs, held } of loads) {
      const repo = rowOf(row)
      for (let start = 0; start < files.length; start += ROWS_AT_ONCE) {
        const batch = files.slice(start, start + ROWS_AT_ONCE).map((file) => ({ ...file, repo: undefined }))
        await this.#client.ask('files', { repo, files: batch })
      }
      for (const { document, body } of held)
        if (document.registry === undefined) await this.#sendDocument(row, document, body)
      const finished = { repo, refs: refs.map(({ revision, commit }) => ({ revision, commit })) }
      const more = Buffer.byteLength(JSON.stringify(finished))
      if (repos.length > 0 && sizeBytes + more > FINISH_BYTES) {
        await this.#client.ask('finish', { repos })
        repos = []
        sizeBytes = 0
      }
      repos.push(finished)
      sizeBytes += more
    }
    if (repos.length > 0) await this.#client.ask('finish', { repos })
    for (const { row, held } of loads)
      for (const { document, body } of held)
        if (document.registry !== undefined) await this.#sendDocument(row, document, body)
  }
}

/** The keys of what files and manifests of the registry need. */
function neededBlobs({ documents }: Manifest, welcome: ReadonlyMap<string, RepoLoad>): ReadonlySet<BlobKey> {
  const needed = new Set([...welcome.values()].flatMap(({ files }) => files.map(({ key }) => key)))
  for (const { repo, registry } of documents)
    if (welcome.has(repoKey(repo))) for (const key of registry?.blobs ?? []) needed.add(key)
  return needed
}

/** The repos that the mirror takes, by their key, each with its rows. */
function welcomeRepos(
  { repos, files, refs }: Manifest,
  standings: ReadonlyMap<string, Standing>,
): ReadonlyMap<string, RepoLoad> {
  const loads = new Map<string, RepoLoad & { files: BundledFile[]; refs: BundledRef[] }>()
  for (const row of repos) {
    const key = repoKey(row.repo)
    if (standings.get(key) === 'welcome') loads.set(key, { row, files: [], refs: [], held: [] })
  }
  for (const file of files) loads.get(repoKey(file.repo))?.files.push(file)
  for (const ref of refs) loads.get(repoKey(ref.repo))?.refs.push(ref)
  return loads
}

function namesOf(loads: readonly RepoLoad[]): readonly string[] {
  return loads.map(({ row }) => formatRepo(row.repo))
}

function rowOf({ repo, ...rest }: BundledRepo) {
  return { repo: repoKey(repo), ...rest }
}

/** What the member must be. Throws BadArchive for one that must not be there. */
function takeExpected(left: Map<string, Expected>, { name, sizeBytes }: Member): Expected {
  const expected = left.get(name)
  left.delete(name)
  if (expected === undefined) throw new BadArchive(`${name} is there twice, or the manifest does not name it`)
  if (sizeOf(expected) !== sizeBytes) throw new BadArchive(`${name} has another size than the manifest says`)
  return expected
}

function sumOf(blobs: readonly BundledBlob[]): number {
  return blobs.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
}

/** The report for the person who has loaded the bundle. */
export function formatReport({ publicRepos, ruledRepos, leftOut, files, fetched }: LoadReport): string {
  const lines = [
    `${plural(files, 'file')} loaded; ${plural(fetched.count, 'blob')}, ${formatSize(fetched.sizeBytes)}, were new`,
    ...publicRepos.map((name) => `${name}: every caller of this mirror may read it`),
    ...ruledRepos.map(
      (name) => `${name}: private or gated; the callers may read it whom a serve-stored rule names`,
    ),
    ...leftOut.map(({ name, standing }) => `${name}: not loaded. ${WHY[standing]}`),
  ]
  return lines.map((line) => `${line}\n`).join('')
}

const WHY: Readonly<Record<Standing, string>> = {
  welcome: '',
  'no-rule':
    'It is private or gated, and no rule of this mirror says who may read it. Add a serve-stored rule that names it and its readers, set ' +
    'HUBMIRROR_CACHE_PRIVATE=on, and load again (docs/air-gap.md)',
  restricted:
    'The Hub has refused it to this mirror, or a write has gone to it, and the bundle says that it is public',
  public: 'The Hub shows it to every caller of this mirror, and the bundle says that it is private or gated',
  ended:
    'The Hub has refused it to a caller of this mirror, or a write has gone to it. Request it from the Hub with a token that may read it, ' +
    'and load again',
}
