// Why the table cannot be used, in words for operators, and what LMDB's own errors mean.

import { constants } from 'node:os'
import { getSystemErrorName } from 'node:util'
import { UnusableDirectory } from '../prepare.ts'

/** The database cannot be read: it is damaged, cut short, or no database. */
export class DamagedTable extends UnusableDirectory {
  constructor(file: string, reason: string) {
    super(
      `${file} is damaged (${reason}). A mirror that may write to the store sets it aside when it starts.`,
    )
    this.name = 'DamagedTable'
  }
}

/** The file has fewer pages than it says. */
export class CutTable extends DamagedTable {
  constructor(file: string) {
    super(file, 'it is cut short')
    this.name = 'CutTable'
  }
}

/** Whether the table is damaged. The thread passes on names and messages of errors, not their classes. */
export function isDamage(error: unknown): boolean {
  return error instanceof Error && (error.name === 'DamagedTable' || error.name === 'CutTable')
}

/** There is no build of LMDB for this platform. */
export class NoDatabase extends UnusableDirectory {
  constructor(cause: unknown) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    super(
      `LMDB, the database for facts and small files, cannot be loaded on ${process.platform}-${process.arch} (${reason}). ` +
        'Install the optional packages of hubmirror too (npm ci without --omit=optional), or compile LMDB (npm rebuild lmdb).',
    )
    this.name = 'NoDatabase'
  }
}

/** The volume cannot hold a database that is mapped into memory, and used by several processes. */
class VolumeUnfit extends UnusableDirectory {
  constructor(file: string, reason: string) {
    super(
      `${file} cannot be used (${reason}). The database for facts and small files needs a volume with file locks (fcntl) and with files that can be mapped into ` +
        'memory (mmap): a local disk, or NFS with its lock service (HUBMIRROR_CACHE_DIR).',
    )
    this.name = 'VolumeUnfit'
  }
}

/** Another process has the table open, and the same process id: it runs in another container. */
export class SameProcessId extends UnusableDirectory {
  constructor(file: string) {
    super(
      `${file} is in use by a process of another container, which has the same process id (${process.pid}) as this one. ` +
        'Run commands in the container of the mirror (docker exec, kubectl exec), or wait until the other process has ended.',
    )
    this.name = 'SameProcessId'
  }
}

/** The disk failed while LMDB wrote the page that makes a commit valid. LMDB refuses everything until it is opened again. */
export class TablePanic extends Error {
  readonly code = 'EIO'

  constructor(file: string) {
    super(`${file} must be opened again after an error of the disk`)
    this.name = 'TablePanic'
  }
}

/** What LMDB says of a database that it cannot read. */
const DAMAGE = /\bMDB_(?:PAGE_NOTFOUND|CORRUPTED|VERSION_MISMATCH|INVALID|INCOMPATIBLE|BAD_TXN|NOTFOUND)\b/
const OWN_NAME = /\bMDB_[A-Z_]+/
const PANIC = /\bMDB_PANIC\b/
/** What mmap(2) and fcntl(2) answer on volumes that lack them. libuv has no name for some of these. */
const UNFIT: ReadonlySet<unknown> = new Set(
  (['ENODEV', 'ENOLCK', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP', 'EINVAL'] as const).map(
    (name) => constants.errno[name],
  ),
)

/**
 * Turns errors of LMDB into DamagedTable, or into errors with the code that the disk has given (`ENOSPC`), or with the name of LMDB's own
 * (`MDB_MAP_FULL`). LMDB gives both as numbers, its own below zero.
 */
export function guard<T>(file: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    if (!(error instanceof Error) || error instanceof UnusableDirectory) throw error
    if (PANIC.test(error.message)) throw new TablePanic(file)
    // A RangeError: the index has numbers that are none.
    if (DAMAGE.test(error.message) || error instanceof RangeError) throw new DamagedTable(file, error.message)
    const code = 'code' in error ? error.code : undefined
    if (typeof code === 'number')
      Object.assign(error, { code: code > 0 ? getSystemErrorName(-code) : OWN_NAME.exec(error.message)?.[0] })
    throw error
  }
}

/** `guard` for the opening, where an error may also mean that the volume cannot hold a database. */
export function guardOpening<T>(file: string, open: () => T): T {
  return guard(file, () => {
    try {
      return open()
    } catch (error) {
      if (error instanceof Error && 'code' in error && UNFIT.has(error.code))
        throw new VolumeUnfit(file, error.message)
      throw error
    }
  })
}
