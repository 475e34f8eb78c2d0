// The settings of the store. keys.ts has the table of all settings, and says what a row means.

import { bytes, choice, directory, duration, filePath, LONGEST_TTL_MS, onOff, orOff } from './parse.ts'

export const CACHE_SETTINGS = {
  cacheDir: {
    key: 'cache.dir',
    group: 'Cache',
    form: 'directory',
    meaning: 'directory of the store',
    parse: directory(),
    // load.ts replaces the variable; if it is unset, by ~/.cache (XDG Base Directory Specification).
    default: '$XDG_CACHE_HOME/hubmirror',
  },
  cacheMaxSizeBytes: {
    key: 'cache.maxSize',
    group: 'Cache',
    form: 'size',
    meaning: 'maximum size of the store; above it, the mirror evicts the least recently used blobs',
    parse: bytes({ min: 1_000_000 }),
    absent: 'none',
    live: true,
  },
  cacheMinFreeBytes: {
    key: 'cache.minFree',
    group: 'Cache',
    form: 'size',
    meaning: 'disk space that the mirror always leaves free',
    parse: bytes(),
    default: '1GB',
    live: true,
  },
  cachePrivate: {
    key: 'cache.private',
    group: 'Cache',
    form: 'on|off',
    meaning:
      "`off`: bytes of private and gated repos are streamed and never written to disk. `on`: they are stored, and the Hub must confirm each caller's access before the mirror serves a byte, unless it cannot be asked and a rule names the caller",
    parse: onOff(),
    default: 'off',
  },
  pins: {
    key: 'pins',
    group: 'Cache',
    form: 'file',
    meaning:
      'YAML file of repos that the mirror keeps ready: it fetches them by itself, and never evicts them. The file is read again when it changes',
    parse: filePath(),
    absent: 'none',
  },
  memoryCacheBytes: {
    key: 'memoryCache',
    group: 'Cache',
    form: 'size',
    meaning: 'memory for cached facts, small blobs and blocks of large ones',
    parse: bytes(),
    default: '64MB',
  },
  scrubRateBytesPerSecond: {
    key: 'scrubRate',
    group: 'Cache',
    form: 'size',
    meaning:
      'how many stored bytes per second the mirror reads and verifies in the background, round after round, to find damage of the disk',
    parse: orOff(bytes({ min: 100_000 })),
    absent: 'off',
  },
  checkReadsMs: {
    key: 'checkReads',
    group: 'Cache',
    form: 'time',
    meaning:
      'verify stored files larger than 64 KiB against checksums when they are read, so that clients never receive bytes damaged on disk. The value is how long a verified block is trusted; `0s` verifies every read',
    parse: orOff(duration({ maxMs: LONGEST_TTL_MS })),
    absent: 'off',
  },
  gitClones: {
    key: 'gitClones',
    group: 'Cache',
    form: 'auto|all|off',
    meaning:
      '`auto`: after a client has cloned a public repo, the mirror fetches its branches and tags with git, so that the repo can be cloned while the Hub is away. `all`: also after a client has read a file of it, once for each commit. `off`: it does not',
    parse: choice(['auto', 'all', 'off']),
    default: 'auto',
  },
} as const
