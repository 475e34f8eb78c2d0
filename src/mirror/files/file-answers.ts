// A resolved file and the conditions of the request → an answer. The file is one kind of content among others.

import type { Conditions } from '../../http/select.ts'
import { type FileMeta, fileHeaders } from '../../hub/file-meta.ts'
import { type FileRoute, resolveTarget } from '../../hub/route.ts'
import type { SignedUrls } from '../../origin/files/signed-urls.ts'
import { type Answer, ageHeader } from '../answer.ts'
import type { Content, Contents } from '../content.ts'
import { getAnswer, headAnswer, type Representation } from '../content-answer.ts'
import type { Ctx } from '../context.ts'
import { type HubSourceOptions, hubSource } from '../hub-source.ts'
import { type ResolvedFile, urlName } from './resolved.ts'

export interface FileAnswersOptions extends HubSourceOptions {
  readonly contents: Contents
  readonly urls: SignedUrls
}

export class FileAnswers {
  readonly #options: FileAnswersOptions

  constructor(options: FileAnswersOptions) {
    this.#options = options
  }

  /** The answer to HEAD: never opens a body, here or at the origin. */
  head(ctx: Ctx, route: FileRoute, file: ResolvedFile, conditions: Conditions): Answer {
    return headAnswer(this.#representationOf(ctx, route, file), conditions)
  }

  /**
   * The answer to GET. The body is opened, and nothing of it taken. The sender must close it. Throws RepoMoved when its
   * first bytes lie under a repo name that was not decided about, also when others download them.
   */
  get(ctx: Ctx, route: FileRoute, file: ResolvedFile, conditions: Conditions): Promise<Answer> {
    const { contents } = this.#options
    return getAnswer(ctx, this.#representationOf(ctx, route, file), conditions, contents)
  }

  /** Stores a file that is not stored. Resolves to whether it was fetched for this; it may be stored already. Throws as `Contents.fill`. */
  async fill(ctx: Ctx, route: FileRoute, file: ResolvedFile): Promise<boolean> {
    const { contents } = this.#options
    const content = this.#contentOf(ctx, route, file)
    if (await contents.isStored(content.key, content.sizeBytes)) return false
    return contents.fill(ctx, content)
  }

  /** Whether a file is stored, or may be: `Contents.standing`. */
  standing(ctx: Ctx, route: FileRoute, file: ResolvedFile): ReturnType<Contents['standing']> {
    return this.#options.contents.standing(this.#contentOf(ctx, route, file))
  }

  #representationOf(ctx: Ctx, route: FileRoute, file: ResolvedFile): Representation {
    const { meta, outcome, reusable, ageMs } = file
    const headers = { ...headersOf(meta, route), ...ageHeader(ageMs) }
    return { content: this.#contentOf(ctx, route, file), etag: meta.etag, headers, outcome, reusable }
  }

  #contentOf(ctx: Ctx, { repo, path }: FileRoute, file: ResolvedFile): Content {
    const { meta, key, isPublic, mayStore, claim, local } = file
    const { commit, sizeBytes } = meta
    const object = {
      repo,
      // By commit, not by branch: the branch may have moved since the Hub described the file.
      target: resolveTarget(repo, commit, path),
      urls: this.#options.urls,
      urlName: urlName(ctx, repo, commit, path),
      namesCommit: true,
      meta,
      claim,
    }
    return { key, sizeBytes, isPublic, mayStore, local, source: hubSource(ctx, object, this.#options) }
  }
}

// Headers are made once for facts that are in memory.
const madeHeaders = new WeakMap<FileMeta, Readonly<Record<string, string>>>()

function headersOf(meta: FileMeta, route: FileRoute): Readonly<Record<string, string>> {
  if (route.download) return fileHeaders(meta, route.path, { download: true })
  const made = madeHeaders.get(meta) ?? fileHeaders(meta, route.path, { download: false })
  madeHeaders.set(meta, made)
  return made
}
