// Connects the parts that serve what is kept of restricted repos to callers whom a rule names.

import { Implied } from '../documents/implied.ts'
import type { Invalidations } from '../invalidations.ts'
import type { Metadata } from '../metadata/metadata.ts'
import type { RestrictedMetadata } from '../metadata/restricted.ts'
import { ServedFiles, type ServedFilesOptions } from './served-files.ts'
import { StoredFiles } from './stored-files.ts'
import { UnaskedFiles, type UnaskedFilesOptions } from './unasked-files.ts'

/** Nothing of restricted repos is kept for clones. */
const NO_CLONES = {
  refs: () => Promise.resolve(undefined),
  items: () => Promise.resolve(undefined),
  commits: () => Promise.resolve(undefined),
  has: () => Promise.resolve(false),
  read: () => {
    throw new Error('no file of a restricted repo is in a git repository')
  },
}

export function joinServed(
  options: ServedFilesOptions &
    Pick<UnaskedFilesOptions, 'contents' | 'originBase'> & {
      readonly metadata: Pick<Metadata, 'repos'>
      readonly restricted: RestrictedMetadata
      readonly invalidations: Pick<Invalidations, 'onRemoved'>
    },
): { readonly impliedRestricted: Implied; readonly served: ServedFiles } {
  const { contents, originBase, restricted, invalidations } = options
  const { files, refs, documents } = restricted
  const metadata = { files, refs, documents, repos: options.metadata.repos }
  const implied = new Implied({ metadata, originBase, cloned: NO_CLONES, invalidations })
  const unaskedFiles = new UnaskedFiles({ implied, contents, cloned: NO_CLONES, originBase })
  const stored = new StoredFiles({ metadata, implied, unaskedFiles })
  return { impliedRestricted: implied, served: new ServedFiles(options, stored) }
}
