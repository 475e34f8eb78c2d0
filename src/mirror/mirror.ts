// The façade: one method per kind of route. Only src/mirror knows both the store and the origin. What it returns knows no
// framework.

import { MirrorError } from '../errors.ts'
import type { Conditions } from '../http/select.ts'
import type { GitRequest } from '../hub/git.ts'
import type { CommitHash, Repo } from '../hub/names.ts'
import { deniesRepo, isBadToken, type Refusal } from '../hub/refusal.ts'
import type { RegistryRequest } from '../hub/registry.ts'
import type { FileRoute, HubRoute } from '../hub/route.ts'
import type { WrittenRepos } from '../hub/written-repos.ts'
import type { Access } from './access/access.ts'
import type { Policies } from './access/policies.ts'
import type { Refusals } from './access/refusals.ts'
import { hintContext, refusalAnswer } from './access/refused.ts'
import { type Answer, ageHeader, closeBody } from './answer.ts'
import type { ClientName, Ctx } from './context.ts'
import type { DatasetAssets } from './dataset-assets.ts'
import type { DocumentRequest, Documents } from './documents/documents.ts'
import type { FileAnswers } from './files/file-answers.ts'
import { fillAnswer, lookAnswer } from './files/fill.ts'
import type { ReadAhead } from './files/read-ahead.ts'
import type { Resolver } from './files/resolve.ts'
import type { Resolved } from './files/resolved.ts'
import type { GitClones } from './git-clones.ts'
import type { GitQuestion } from './git-exchange.ts'
import type { Metadata } from './metadata/metadata.ts'
import type { LinkedObject, ObjectRequest, Objects } from './objects.ts'
import type { Registry, RegistryQuestion } from './registry.ts'
import { restartOnRename } from './renames.ts'
import type { Uploads } from './uploads.ts'

const NO_XET_UPLOAD =
  'Xet is disabled on this mirror: set HF_HUB_DISABLE_XET=1 and upload again. Large files then go through the mirror by Git LFS.'

const UNCONDITIONAL: Conditions = { range: undefined, ifRange: undefined, ifNoneMatch: undefined }

export interface Mirror {
  head(ctx: Ctx, route: FileRoute, conditions: Conditions): Promise<Answer>
  /** The body of the answer is opened, not started. The caller must close it, also when it sends nothing. */
  get(ctx: Ctx, route: FileRoute, conditions: Conditions): Promise<Answer>
  /**
   * Fetches the file into the store, as a GET of a client does, without its bytes being sent. The body of a 200 is lines of
   * JSON: how far it is, and at last whether it is stored (`FillLine`). A refusal is that of the GET. With `range`, a Range field,
   * only those bytes are fetched.
   */
  fill(ctx: Ctx, route: FileRoute, range: string | undefined): Promise<Answer>
  /** Answers whether the file is stored, and fetches nothing of it: a `LookAnswer` as JSON. A refusal is that of a HEAD. */
  look(ctx: Ctx, route: FileRoute): Promise<Answer>
  document(
    ctx: Ctx,
    route: Extract<HubRoute, { kind: 'document' }>,
    request: DocumentRequest,
  ): Promise<Answer>
  /** An image or a sound of a row: `DatasetAssets.get`. */
  readonly asset: DatasetAssets['get']
  /** A manifest or blob of a public repo. Undefined leaves the request to the pass-through. */
  registry(
    ctx: Ctx,
    route: HubRoute,
    asked: RegistryRequest,
    question: RegistryQuestion,
  ): Promise<Answer | undefined>
  /** A clone or fetch while the Hub is away: `GitClones.get`. Undefined leaves the request to the pass-through. */
  git(ctx: Ctx, route: HubRoute, asked: GitRequest, question: GitQuestion): Promise<Answer | undefined>
  /** The same when the Hub has just turned out to be away: `GitClones.stored`. */
  storedGit(ctx: Ctx, route: HubRoute, asked: GitRequest, question: GitQuestion): Promise<Answer | undefined>
  /** Which of these Git LFS objects are stored and belong to the repo: `GitClones.objects`. Undefined when that is not known. */
  storedObjects(
    ctx: Ctx,
    repo: Repo,
    objects: readonly { readonly oid: string; readonly size: number }[],
  ): Promise<ReadonlySet<string> | undefined>
  /** Whether the Hub is not to be asked, or could not be reached a moment ago. */
  isHubAway(): boolean
  /** The Hub has sent objects of the repo to a client of git: `GitClones.fetched`. */
  gitFetched(ctx: Ctx, repo: Repo): void
  /**
   * The object of a transfer link; holding the link is enough. The object comes from the store if it is there, since the
   * Hub has shown it to the caller who received the link. Where bytes of private repos are stored, the linked address is
   * asked all the same. Throws transfer_link_refused when that address has expired, or has no such object.
   */
  object(ctx: Ctx, link: LinkedObject, request: ObjectRequest): Promise<Answer>
  /** What passes through transfer links on its way to storage. */
  readonly uploads: Uploads
  /** The Hub has given this caller an address of an object of the repo, for which a transfer link is made. */
  sawObject(ctx: Pick<Ctx, 'authorization'>, repo: Repo, sha256: string): void
  /**
   * What the policies decide about a request, before anything is asked or served. Returns the context that goes with the
   * decision. Throws policy_denied. All other methods here are for admitted requests.
   */
  admit(ctx: Ctx, route: HubRoute, request?: { readonly isUpload?: boolean }): Promise<Ctx>
  /** Whether there are any policies. */
  readonly hasRules: boolean
  /**
   * A write to the repos was forwarded and accepted. What was known of their branches, of who may read them, and of their
   * names ends here.
   */
  changed(ctx: Ctx, repos: WrittenRepos): Promise<void>
  /**
   * A write to the repos was forwarded, and the Hub may have carried it out, or does so now. What was known of their
   * branches ends here.
   */
  mayChange(ctx: Ctx, repos: WrittenRepos): void
  /** The Hub refused a forwarded read of the repo. Rights that the refusal contradicts end here. */
  refused(ctx: Ctx, route: HubRoute, refusal: Refusal): Promise<void>
  /** What the policies decide about a request whose answer may be reused: `Policies.admitCached`. */
  admitCached(caller: Ctx['caller'], route: FileRoute): string | undefined
  /** Records which commit a HEAD has named to this client, when its answer was a reused one. */
  recordHeadCommit(
    client: ClientName,
    answer: { readonly route: FileRoute; readonly commit: CommitHash; readonly status: number },
    /** How long ago the answer was sent. */
    agoMs?: number,
  ): void
  /**
   * Always throws. For reading: the client has a Xet hash from elsewhere and needs to know how to go on without Xet. For
   * writing: its bytes would bypass the mirror, and no client falls back to Git LFS by itself once it has asked.
   */
  xetToken(use: 'read' | 'write'): never
}

export function createMirror(parts: {
  readonly metadata: Metadata
  readonly access: Access
  /** Milliseconds of the monotonic clock. */
  readonly now: () => number
  readonly refusals: Refusals
  readonly resolver: Resolver
  readonly files: FileAnswers
  readonly readAhead: Pick<ReadAhead, 'requested'>
  readonly objects: Objects
  readonly assets: DatasetAssets
  readonly uploads: Uploads
  readonly registry: Registry
  readonly documents: Documents
  readonly policies: Policies
  readonly git: GitClones
}): Mirror {
  const { access, now, resolver, files, objects, registry, documents, policies, git } = parts
  const admit: Mirror['admit'] = async (ctx, route, request) => {
    const admission = await policies.admit(ctx, route, request)
    return admission === undefined ? ctx : { ...ctx, admission }
  }

  // The command that asks for a file says itself which one is next.
  const getAlone = fileGetter({ ...parts, readAhead: { requested() {} } })
  const answers: Pick<
    Mirror,
    'head' | 'get' | 'fill' | 'look' | 'document' | 'registry' | 'git' | 'storedGit'
  > = {
    async head(ctx, route, conditions) {
      const resolved = await resolver.resolve(ctx, route, 'HEAD')
      if (resolved.kind === 'refusal') return refusedFile(ctx, route, resolved)
      ctx.admission?.checkSize(resolved.meta.sizeBytes)
      return { ...files.head(ctx, route, resolved, conditions), isLimited: resolved.isLimited }
    },
    get: fileGetter(parts),
    fill: async (ctx, route, range) =>
      fillAnswer(await getAlone(ctx, route, { ...UNCONDITIONAL, range }), ctx.signal),
    async look(ctx, route) {
      const resolved = await resolver.resolve(ctx, route, 'HEAD')
      if (resolved.kind === 'refusal') return refusedFile(ctx, route, resolved)
      const { sizeBytes } = resolved.meta
      ctx.admission?.checkSize(sizeBytes)
      return lookAnswer({ sizeBytes, ...(await files.standing(ctx, route, resolved)) })
    },
    document: (ctx, route, request) => documents.get(ctx, route, request),
    registry: (ctx, _route, asked, question) => registry.get(ctx, asked, question),
    git: (ctx, _route, asked, question) => git.get(ctx, asked, question),
    storedGit: (ctx, _route, asked, question) => git.stored(ctx, asked, question),
  }

  return {
    ...restartOnRename(answers, admit),
    admit,
    get hasRules() {
      return policies.hasRules
    },
    admitCached: (caller, route) => policies.admitCached(caller, route),
    storedObjects: (ctx, repo, asked) => git.objects(ctx, repo, asked),
    isHubAway: () => git.isHubAway,
    gitFetched: (ctx, repo) => git.fetched(ctx, repo),
    asset: (ctx, route, question) => parts.assets.get(ctx, route, question),
    object: (ctx, link, request) => objects.linked(ctx, link, request),
    uploads: parts.uploads,
    // Without a credential the Hub gives addresses of public objects only.
    sawObject: ({ authorization }, repo, sha256) =>
      access.saw(repo, sha256, authorization === undefined ? Number.NEGATIVE_INFINITY : now()),

    ...writeEffects(parts),

    async refused(ctx, route, refused) {
      if (route.repo === undefined) return
      const { code, status, isForeign } = refused
      // Many pages of a public repo are for its owner only. A caller who is refused one of those may still read the files.
      const isGit = route.kind === 'other' && route.purpose === 'git-read'
      if ((isGit && !isForeign) || isBadToken(refused) || code === 'RepoNotFound' || code === 'GatedRepo')
        await access.refused(ctx, route.repo, refused, now())
      // It is not clear that the Hub itself refused. So what was granted to this caller ends, but not what is public.
      else if (deniesRepo(refused) || (isForeign && (status === 401 || status === 403)))
        access.denied(ctx.fingerprint, route.repo, now())
    },

    recordHeadCommit(client, { route, commit, status }, agoMs = 0) {
      // A HEAD that says that a commit lacks the file promises nothing: what the branch has later may be fetched.
      if (status === 200) resolver.recordHeadCommit(client, route, commit, now() - agoMs)
    },

    xetToken: refuseXet,
  }
}

/** What a write ends. */
function writeEffects({
  metadata,
  access,
  refusals,
  documents,
}: {
  readonly metadata: Metadata
  readonly access: Access
  readonly refusals: Refusals
  readonly documents: Documents
}): Pick<Mirror, 'changed' | 'mayChange'> {
  // A renamed repo is read by its old name as well.
  const byEveryName = (repos: readonly Repo[]) => repos.flatMap((repo) => metadata.repos.byEveryName(repo))
  const mayChange: Mirror['mayChange'] = (ctx, repos) => {
    refusals.invalidate(ctx.fingerprint)
    documents.changed()
    if (typeof repos === 'string') metadata.refs.allChanged()
    else for (const repo of byEveryName(repos)) metadata.refs.changed(repo)
  }
  return {
    mayChange,
    async changed(ctx, repos) {
      mayChange(ctx, repos)
      if (repos === 'new') {
        access.doubtAll()
        return
      }
      if (repos === 'all') {
        await access.writtenAnywhere()
        return
      }
      for (const repo of byEveryName(repos)) {
        metadata.repos.nameMayHaveChanged(repo)
        await access.written(repo)
      }
    },
  }
}

/** `Mirror.get`. */
function fileGetter({
  resolver,
  files,
  readAhead,
  git,
}: {
  readonly resolver: Resolver
  readonly files: FileAnswers
  readonly readAhead: Pick<ReadAhead, 'requested'>
  readonly git: Pick<GitClones, 'read'>
}): Mirror['get'] {
  const answer = async (
    ctx: Ctx,
    route: FileRoute,
    conditions: Conditions,
    resolved: Resolved,
  ): Promise<Answer> => {
    if (resolved.kind === 'refusal') return refusedFile(ctx, route, resolved)
    ctx.admission?.checkSize(resolved.meta.sizeBytes)
    readAhead.requested(ctx, route, resolved.meta.commit)
    git.read(ctx, route.repo, resolved.meta.commit)
    return { ...(await files.get(ctx, route, resolved, conditions)), isLimited: resolved.isLimited }
  }
  return async (ctx, route, conditions) => {
    const resolved = await resolver.resolve(ctx, route, 'GET')
    const answered = await answer(ctx, route, conditions, resolved)
    const claim = resolved.kind === 'file' ? resolved.claim : undefined
    if (claim === undefined || (await claim.holds(answered.body))) return answered
    await closeBody(answered.body)
    const asked = await resolver.resolve(ctx, route, 'GET', { usesListing: false })
    claim.settle(asked)
    return answer(ctx, route, conditions, asked)
  }
}

function refuseXet(use: 'read' | 'write'): never {
  throw new MirrorError('xet_disabled', use === 'write' ? { message: NO_XET_UPLOAD } : {})
}

function refusedFile(
  ctx: Ctx,
  { repo }: FileRoute,
  { refusal, outcome, ageMs, isLimited, reusable }: Extract<Resolved, { kind: 'refusal' }>,
): Answer {
  const answer = refusalAnswer(refusal, {
    asked: hintContext(ctx, repo),
    anonymous: ctx.authorization === undefined,
    aboutRepo: true,
    extra: ageHeader(ageMs),
    outcome,
  })
  const { body } = answer
  // Reusable only when a commit lacks the file, which every caller is answered in the same words.
  if (reusable === undefined || body.kind !== 'bytes') return { ...answer, isLimited }
  return { ...answer, isLimited, reusable: { ...reusable, bytes: () => body.bytes } }
}
