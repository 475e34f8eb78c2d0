// Derives the subject of a route in the terms of the rules. Only this file says which request reveals which repo, revision
// and file, so that no spelling of a request escapes a rule.

import type { HubRoute } from '../hub/route.ts'
import type { SubjectType } from './rules.ts'

/** Any value, and the mirror cannot determine which: a git or Git LFS request can include every file. */
export const ANY = Symbol('any')

/** What a request would reveal. `undefined` means nothing of that kind: a tree is a list, not a file. */
export interface Subject {
  readonly type: SubjectType
  readonly id: string
  readonly revision: string | typeof ANY | undefined
  readonly path: string | typeof ANY | undefined
  /** Whether the request returns the bytes of a file, so that rules by size apply. */
  readonly size: 'file' | typeof ANY | undefined
}

/**
 * The subject of a route. Undefined for a route that concerns no repo: lists, whoami, the pages of the Hub itself. Whether a
 * Git LFS batch is an upload is in its body, so the caller passes it as `isUpload`.
 */
export function subjectOf(
  route: HubRoute,
  request: { readonly isUpload?: boolean } = {},
): Subject | undefined {
  switch (route.kind) {
    case 'file': {
      // The slashes of a ref were not escaped. Only the origin knows which part of the path belongs to the ref.
      if (isRefsAlone(route.revision)) return { ...route.repo, revision: ANY, path: ANY, size: ANY }
      return { ...route.repo, revision: route.revision, path: route.path, size: 'file' }
    }
    case 'document': {
      if (route.repo === undefined) return undefined
      if (OF_UNNAMED_FILES.has(route.document)) return { ...route.repo, revision: ANY, path: ANY, size: ANY }
      // The info of a repo without a revision is that of its main branch.
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

/** Documents about files of a branch that they do not name. */
const OF_UNNAMED_FILES: ReadonlySet<string> = new Set([
  'parquet',
  'croissant',
  'safetensors-metadata',
  'datasets-server',
  'dataset-rows',
])

/** Whether the revision is `refs`, which cannot be the name of a branch. */
function isRefsAlone(revision: string): boolean {
  return revision.toLowerCase() === 'refs'
}
