// A route → what it is about, in the words of the rules. The one place that says which request shows which repo,
// revision and file, so that no spelling of a request escapes a rule.

import type { HubRoute } from '../hub/route.ts'
import type { SubjectType } from './rules.ts'

/** Any of them, which one cannot be told: git and Git LFS carry every file. */
export const ANY = Symbol('any')

/** What a request would show. `undefined` says that it shows none of that kind: a tree is a list, not a file. */
export interface Subject {
  readonly type: SubjectType
  readonly id: string
  readonly revision: string | typeof ANY | undefined
  readonly path: string | typeof ANY | undefined
  /** Whether a file comes whole, so that its size matters. */
  readonly size: 'file' | typeof ANY | undefined
}

/**
 * Undefined for what is about no repo: lists, whoami, the pages of the Hub itself. Whether a Git LFS batch is an upload
 * stands in its body, so the caller says it.
 */
export function subjectOf(
  route: HubRoute,
  request: { readonly isUpload?: boolean } = {},
): Subject | undefined {
  switch (route.kind) {
    case 'file': {
      // Slashes of a ref that came unescaped: how much of the path belongs to it is for the origin to say.
      if (isRefsAlone(route.revision)) return { ...route.repo, revision: ANY, path: ANY, size: ANY }
      return { ...route.repo, revision: route.revision, path: route.path, size: 'file' }
    }
    case 'document': {
      if (route.repo === undefined) return undefined
      // The info of a repo is that of its main branch.
      const revision = route.revision ?? (route.document === 'repo' ? 'main' : undefined)
      const isUnclear = revision !== undefined && isRefsAlone(revision)
      return { ...route.repo, revision: isUnclear ? ANY : revision, path: undefined, size: undefined }
    }
    case 'xet-token':
      return route.write
        ? { ...route.repo, revision: route.revision, path: undefined, size: undefined }
        : { ...route.repo, revision: route.revision ?? ANY, path: ANY, size: ANY }
    case 'other': {
      const { scope } = route
      if (scope === undefined) return undefined
      const { type, id, shows } = scope
      if (shows === 'nothing' || route.purpose === 'git-write' || request.isUpload === true)
        return { type, id, revision: undefined, path: undefined, size: undefined }
      if (shows === 'everything') return { type, id, revision: ANY, path: ANY, size: ANY }
      const revision = shows.isClear ? shows.revision : ANY
      return { type, id, revision, path: shows.path, size: shows.whole ? ANY : undefined }
    }
    default:
      return route satisfies never
  }
}

/** No branch can be called so. */
function isRefsAlone(revision: string): boolean {
  return revision.toLowerCase() === 'refs'
}
