// What the log says when the volume of a store lacks something.

import type { VolumeLimit } from './disk-store.ts'

/** A sentence for operators about each limit. */
export const VOLUME_LIMITS: Record<VolumeLimit, string> = {
  'no-kernel-lock':
    'the volume of the store has no file locks: the file LOCK excludes a second mirror on this machine, ' +
    'but not one on another machine',
  'no-hard-links':
    'the volume of the store makes no hard links: HUBMIRROR_SENDFILE has no effect, and the mirror sends files itself',
  'network-volume':
    'the store is on a network volume, or on FUSE, which may be one: facts lie in a memory-mapped database, which only processes of this machine ' +
    'may use at a time; run hubmirror ls and prune on this machine too',
  'read-only': 'the volume of the store is read-only: the mirror serves stored content and writes nothing',
}
