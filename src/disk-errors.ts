// What the disk says when it does not do what it should, in words for operators: one explanation for all commands and for the mirror.
// It touches no disk.

interface Explanation {
  /** What is wrong with a place, as in `PLACE cannot be written: …`. */
  readonly reason: string
  /** What the operator should do, without a full stop. */
  readonly cure: string
  /** Whether the path of the call says more than the place. */
  readonly namesPath?: boolean
}

const NO_RIGHT = {
  reason: 'the user of this process may not do that',
  cure: 'Run this as the user who owns it, or change its owner or mode',
  namesPath: true,
}

const EXPLANATIONS: Readonly<Record<string, Explanation>> = {
  ENOSPC: { reason: 'its disk is full', cure: 'Make room there' },
  EDQUOT: { reason: 'the quota of its disk is used up', cure: 'Make room there, or raise the quota' },
  EROFS: { reason: 'its disk is mounted read-only', cure: 'Mount it writable, or choose another place' },
  EACCES: NO_RIGHT,
  EPERM: NO_RIGHT,
  EFBIG: {
    reason: 'its file system, or a limit of this process, takes no file of this size',
    cure: 'Choose another file system, raise the limit (ulimit -f), or write smaller files (bundle create --split)',
  },
  // LMDB also says so where a full disk cuts a write short.
  EIO: {
    reason: 'its disk has failed, or is full',
    cure: 'Make room there if it is full, and else look into the log of the system (dmesg)',
  },
  ENOMEM: {
    reason: 'the system has no memory, or no address space, for it',
    cure: 'Free memory, or raise the limits of this process (ulimit -v, the memory of its container)',
  },
  // The table of facts cannot grow: LMDB maps all of it into memory.
  MDB_MAP_FULL: {
    reason: 'its table of facts cannot grow',
    cure: 'Make room there, or raise the limit of the address space of this process (ulimit -v)',
  },
  ENOENT: {
    reason: 'there is no such file or folder',
    cure: 'Make the folder, or choose another place',
    namesPath: true,
  },
  ENOTDIR: { reason: 'a part of the path is no folder', cure: 'Choose another place', namesPath: true },
  EISDIR: { reason: 'it is a folder', cure: 'Choose another place' },
  ENAMETOOLONG: { reason: 'a name is too long for its file system', cure: 'Choose another place' },
  ESTALE: { reason: 'its volume has gone', cure: 'Mount it again' },
}

/** The code of an error that a disk may have given, such as `ENOSPC`; undefined for every other error. */
export function diskCode(error: unknown): string | undefined {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  return typeof code === 'string' && code in EXPLANATIONS ? code : undefined
}

/** Why a disk has failed, with the code, as in `its disk is full (ENOSPC)`. For every other error, its message. */
export function diskReason(error: unknown): string {
  const code = diskCode(error)
  const { reason, namesPath } = EXPLANATIONS[code ?? ''] ?? {}
  if (reason === undefined) return error instanceof Error ? error.message : String(error)
  const { path } = error as { readonly path?: unknown }
  return `${reason} (${code}${namesPath === true && typeof path === 'string' ? `, ${path}` : ''})`
}

/** What the operator should do about an error of a disk, without a full stop; undefined for every other error. */
export function diskCure(error: unknown): string | undefined {
  return EXPLANATIONS[diskCode(error) ?? '']?.cure
}

/** `what`, why, and what to do if it was the disk, without a full stop: `PLACE cannot be written: its disk is full (ENOSPC). Make room there`. */
export function diskMessage(what: string, error: unknown): string {
  const cure = diskCure(error)
  return `${what}: ${diskReason(error)}${cure === undefined ? '' : `. ${cure}`}`
}

/** What to do where the store has no space, as the end of a sentence. */
export const MAKE_ROOM =
  'make room on the disk of HUBMIRROR_CACHE_DIR, or change HUBMIRROR_CACHE_MAX_SIZE or HUBMIRROR_CACHE_MIN_FREE'
/** The same for a command that brings content, as a sentence of its own. */
export const MAKE_ROOM_AND_REPEAT =
  'Make room on its disk, change HUBMIRROR_CACHE_MAX_SIZE or HUBMIRROR_CACHE_MIN_FREE, and run the command again.'

/** A disk has failed. The message names the place, the reason and the cure. */
export class DiskFailure extends Error {
  /** `what` names the place and what cannot be done, as in `/mnt/usb/models.tar cannot be written`. */
  constructor(what: string, error: unknown) {
    super(`${diskMessage(what, error)}, and run the command again.`, { cause: error })
    this.name = 'DiskFailure'
  }
}

/** Settles as `work` does. Errors of a disk become DiskFailure, which names the place by `what`. */
export async function atDisk<T>(what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw diskCode(error) === undefined ? error : new DiskFailure(what, error)
  }
}
