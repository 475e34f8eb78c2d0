// What the mirror knows of repos, refs, files and API documents: typed facts over the store, and the memory that says
// how long a mutable one is fresh. Freshness is counted on the monotonic clock of this process. A fact on the disk is
// never fresh by itself, so neither a restart nor a clock that steps back can make it live longer.

import type { Invalidations } from '../invalidations.ts'
import { DocumentMetadata } from './documents.ts'
import { FactStore, type FactStoreOptions } from './fact-store.ts'
import { FileMetadata } from './files.ts'
import { RefMetadata } from './refs.ts'
import { RepoMetadata } from './repos.ts'

export interface MetadataOptions extends FactStoreOptions {
  readonly monotonic: () => number
  /** Called when a branch has moved, or a repo was written to. */
  readonly invalidations: Pick<Invalidations, 'invalidate' | 'onRemoved'>
}

/** What is stored of repos, public or restricted. */
export type StoredMetadata = Pick<Metadata, 'files' | 'refs' | 'documents'> & {
  readonly repos: Pick<RepoMetadata, 'traits'>
}

export class Metadata {
  readonly files: FileMetadata
  readonly refs: RefMetadata
  readonly repos: RepoMetadata
  readonly documents: DocumentMetadata

  constructor(options: MetadataOptions) {
    const store = new FactStore(options)
    this.files = new FileMetadata(store)
    this.refs = new RefMetadata(store, options)
    this.repos = new RepoMetadata(store, options)
    this.documents = new DocumentMetadata(store)
    options.invalidations.onRemoved(() => {
      this.refs.forget()
      this.repos.forget()
      this.documents.forget()
    })
  }
}
