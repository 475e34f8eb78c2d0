// The names under which the ledger carries what is stored: a blob by its key, a partial by its key with a prefix.

import { type BlobKey, isBlobKey } from '../digest.ts'

const PREFIX = 'partial:'

/** The name of a partial in the ledger. */
export function partialName(key: BlobKey): string {
  return `${PREFIX}${key}`
}

/** What a name in the ledger stands for; undefined when it is not one of ours. */
export function parseEntryName(
  name: string,
): { readonly key: BlobKey; readonly isPartial: boolean } | undefined {
  const isPartial = name.startsWith(PREFIX)
  const key = isPartial ? name.slice(PREFIX.length) : name
  return isBlobKey(key) ? { key, isPartial } : undefined
}
