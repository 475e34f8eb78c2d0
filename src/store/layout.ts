// Every path below the cache directory, and nothing else makes one. No string that came from outside becomes a
// file name: blobs are named by their digest, facts by the sha256 of their key.
//
//   <root>/
//   ├─ CACHEDIR.TAG                     backup programs may skip the directory
//   ├─ FORMAT                           name and number; an unknown number refuses to start
//   ├─ LOCK                             held while a mirror runs on the directory
//   ├─ blobs/<algorithm>/ab/<hex>       finished and verified, read-only
//   ├─ sums/<algorithm>/ab/<hex>        checksums of the blocks of a blob (block-sums.ts), where they are kept
//   ├─ partial/<algorithm>-<hex>/data   sparse, as long as the finished file
//   ├─ partial/<algorithm>-<hex>/blocks which blocks of it are there (block-map.ts)
//   ├─ quarantine/                      bytes that failed their digest, the newest few
//   ├─ verify.json, scrub.json          how far the last pass over the blobs came
//   ├─ mirror-tokens.json               issued tokens, of callers/token-file.ts; may be there before the store is
//   ├─ transfer-key                     seals links for Git LFS transfers (transfer-key.ts)
//   ├─ handoff/<random>                 hard links to blobs (handoff-links.ts); emptied at start
//   ├─ facts/<kind>/ab/<sha256>.json    small truths: file, ref, repo, document
//   └─ tmp/                             sources of renames; emptied at start

import { createHash } from 'node:crypto'
import path from 'node:path'
import type { BlobKey } from './digest.ts'
import type { FactKind } from './store.ts'

export interface Layout {
  readonly root: string
  readonly format: string
  readonly cacheDirTag: string
  readonly lock: string
  readonly blobs: string
  readonly allSums: string
  readonly partials: string
  readonly quarantine: string
  readonly handoff: string
  readonly facts: string
  readonly tmp: string
  blob(key: BlobKey): string
  sums(key: BlobKey): string
  partial(key: BlobKey): string
  fact(kind: FactKind, key: string): string
}

/** `sha256:ab12…` → `sha256-ab12…`, the form a key has as a file name. */
export function keyFileName(key: BlobKey): string {
  return key.replace(':', '-')
}

/** Makes the paths of one store; touches no disk. */
export function createLayout(root: string): Layout {
  const absolute = path.resolve(root)
  const at = (...parts: string[]): string => path.join(absolute, ...parts)
  const below = (folder: string, key: BlobKey): string => {
    const [algorithm = '', hex = ''] = key.split(':')
    return at(folder, algorithm, hex.slice(0, 2), hex)
  }
  return {
    root: absolute,
    format: at('FORMAT'),
    cacheDirTag: at('CACHEDIR.TAG'),
    lock: at('LOCK'),
    blobs: at('blobs'),
    allSums: at('sums'),
    partials: at('partial'),
    quarantine: at('quarantine'),
    handoff: at('handoff'),
    facts: at('facts'),
    tmp: at('tmp'),
    blob: (key) => below('blobs', key),
    sums: (key) => below('sums', key),
    partial: (key) => at('partial', keyFileName(key)),
    fact(kind, key) {
      const hex = createHash('sha256').update(key).digest('hex')
      return at('facts', kind, hex.slice(0, 2), `${hex}.json`)
    },
  }
}
