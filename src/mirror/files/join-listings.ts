// Connects the parts of mirror/ that share what listings say: documents, from which it is learnt, and files, which it describes.

import { DocumentMemory } from '../documents/document-memory.ts'
import { Documents, type DocumentsOptions } from '../documents/documents.ts'
import { StoredLists, type StoredListsOptions } from '../documents/stored-lists.ts'
import type { RestrictedMetadata } from '../metadata/restricted.ts'
import { CommitListings } from './commit-listings.ts'
import { FileAnswers, type FileAnswersOptions } from './file-answers.ts'
import { Grants, type GrantsOptions } from './grants.ts'
import { joinServed } from './join-served.ts'
import { ListedFiles } from './listed-files.ts'
import { ReadAhead } from './read-ahead.ts'
import { Resolver, type ResolverOptions } from './resolve.ts'
import { StoredFiles, type StoredFilesOptions } from './stored-files.ts'
import { UnaskedFiles, type UnaskedFilesOptions } from './unasked-files.ts'

type Options = Omit<DocumentsOptions, 'memory' | 'listings' | 'lists' | 'impliedRestricted'> &
  Omit<StoredListsOptions, 'originBase'> &
  Omit<ResolverOptions, 'grants' | 'listedFiles' | 'storedFiles' | 'served'> &
  GrantsOptions &
  Omit<UnaskedFilesOptions, 'originBase'> &
  Omit<StoredFilesOptions, 'unaskedFiles'> &
  FileAnswersOptions & {
    readonly restricted: RestrictedMetadata
    readonly readsAhead: () => boolean
  }

export function joinListings(options: Options): {
  readonly documents: Documents
  readonly files: FileAnswers
  readonly resolver: Resolver
  readonly readAhead: ReadAhead
} {
  const { observer } = options
  const listings = new CommitListings({
    ...options,
    readPage: (ctx, route, owner) => documents.pages.readPage(ctx, route, owner),
  })
  const originBase = options.client.policy.base
  const lists = new StoredLists({ ...options, originBase })
  const { impliedRestricted, served } = joinServed({ ...options, originBase })
  const memory = new DocumentMemory({ observer })
  const documents = new Documents({ ...options, listings, lists, memory, impliedRestricted })
  const grants = new Grants(options)
  const listedFiles = new ListedFiles({ ...options, listings, grants, served })
  const files = new FileAnswers(options)
  const readAhead = new ReadAhead({
    ...options,
    listings,
    isOn: options.readsAhead,
    fetch: (ctx, route, found, commit) =>
      files.fill(ctx, route, listedFiles.describe(ctx, route, found, commit)),
  })
  const unaskedFiles = new UnaskedFiles({ ...options, originBase })
  const storedFiles = new StoredFiles({ ...options, unaskedFiles })
  const resolver = new Resolver({ ...options, grants, listedFiles, storedFiles, served })
  return { documents, files, readAhead, resolver }
}
