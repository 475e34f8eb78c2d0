// Every path below the cache directory, and nothing else makes one. No string that came from outside becomes a
// file name: blobs are named by their digest.
//
//   <root>/
//   ├─ CACHEDIR.TAG                     backup programs may skip the directory
//   ├─ FORMAT                           name and version; a mirror refuses an unknown version
//   ├─ LOCK                             held while a mirror runs on the directory
//   ├─ blobs/<algorithm>/ab/<hex>       finished and verified, read-only; those of more than 64 KiB
//   ├─ sums/<algorithm>/ab/<hex>        checksums of the blocks of a blob (block-sums.ts), if reads are checked
//   ├─ partial/<algorithm>-<hex>/data   sparse, as long as the finished file
//   ├─ partial/<algorithm>-<hex>/blocks which blocks of it have landed (block-map.ts)
//   ├─ quarantine/                      bytes whose digest was wrong, the newest eight
//   ├─ verify.json, scrub.json          where a pass over the blobs continues (scrub-position.ts)
//   ├─ pins.json                        which blobs pins keep (pinned-commits.ts)
//   ├─ mirror-tokens.json               issued tokens, of callers/token-file.ts; may exist before the store
//   ├─ transfer-key                     seals links for Git LFS transfers (transfer-key.ts)
//   ├─ handoff/<random>                 hard links to blobs (handoff-links.ts); emptied at start
//   ├─ facts/data.mdb, facts/lock.mdb   facts, small blobs, and a row for each blob (table/)
//   ├─ facts/in-use                     there until a mirror has closed data.mdb (table/table-damage.ts)
//   ├─ facts/<kind>/ab/<sha256>.json    facts of an earlier version, which are being moved (older-facts.ts)
//   ├─ control/socket                   where commands reach the mirror (control-socket.ts)
//   ├─ git/ab/<sha256>/                 bare git repositories of public repos (git/git-repos.ts)
//   └─ tmp/                             files before their rename; emptied at start

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
  readonly git: string
  readonly factsInUse: string
  readonly control: string
  readonly tmp: string
  blob(key: BlobKey): string
  sums(key: BlobKey): string
  partial(key: BlobKey): string
  /** The file of a fact in format `hubmirror 1`. */
  olderFact(kind: FactKind, key: string): string
}

/** `sha256:ab12…` → `sha256-ab12…`, the form of a key in a file name. */
export function keyFileName(key: BlobKey): string {
  return key.replace(':', '-')
}

/** The paths of one store. Does not touch the disk. */
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
    git: at('git'),
    factsInUse: at('facts', 'in-use'),
    control: at('control'),
    tmp: at('tmp'),
    blob: (key) => below('blobs', key),
    sums: (key) => below('sums', key),
    partial: (key) => at('partial', keyFileName(key)),
    olderFact(kind, key) {
      const hex = createHash('sha256').update(key).digest('hex')
      return at('facts', kind, hex.slice(0, 2), `${hex}.json`)
    },
  }
}
