// Makes a directory a store, or says why it cannot be one. It checks before it writes: a directory that is not ours is left
// unchanged.

import { constants } from 'node:fs'
import { access, lstat, mkdir, readdir, readFile, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import { diskCure, diskReason } from '../disk-errors.ts'
import { errorCode, ifThere, makeDirectory, writeAtomic } from './atomic.ts'
import type { Layout } from './layout.ts'
import { DirectoryInUse, LocksUnsupported } from './lock.ts'

const FORMAT = 'hubmirror 2\n'
// Facts lie in files of their own there; they are moved while the mirror serves.
const OLDER_FORMAT = 'hubmirror 1\n'
const CACHEDIR_TAG =
  'Signature: 8a477f597d28d172789f06886806bc55\n# This directory is a cache of hubmirror.\n'
// Lock files that an interrupted first start can leave.
const LOCK_NAME = /^LOCK(?:\.[0-9a-f]{24})?$/
// Files that may exist before the first start: issued tokens, and a transfer key that several mirrors share.
const EARLY_NAME = /^(?:mirror-tokens\.json(?:\.lock)?|transfer-key)$/
const TEMPORARY_NAME = /^[0-9a-f]{24}$/
const POSITION_NAME = /^(?:verify|scrub)\.json$/

/** The directory cannot be used as a store; the message says why and what to do. */
export class UnusableDirectory extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'UnusableDirectory'
  }
}

/** Runs `work`, and turns an error of the disk into an UnusableDirectory that names the directory. */
export async function whileUsable<T>(layout: Layout, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof UnusableDirectory || error instanceof DirectoryInUse) throw error
    if (error instanceof LocksUnsupported) throw error
    const cure =
      errorCode(error) === 'EROFS'
        ? 'Mount it writable, or serve its content with HUBMIRROR_OFFLINE=on'
        : (diskCure(error) ?? 'Check that it exists and is writable')
    throw new UnusableDirectory(
      `${layout.root} cannot be used as HUBMIRROR_CACHE_DIR: ${diskReason(error)}. ${cure}.`,
    )
  }
}

/**
 * Throws UnusableDirectory unless `root` is a store of this version, is empty, or can be made. A crash during the first start
 * can leave FORMAT without content; such a directory passes if it contains only files of a store. Creates the directory
 * itself, and writes nothing else.
 */
export async function checkDirectory(layout: Layout): Promise<void> {
  await makeDirectory(layout.root)
  await checkOwner(layout)
  const format = await readFormat(layout)
  if (format === undefined) {
    await checkEmpty(layout)
  } else if (format === '') {
    await checkOwnNames(layout)
  } else if (!isSupported(format)) {
    throw otherVersion(layout, format)
  }
}

/** Whether `root` is a store that this version can read. */
export async function isStore(layout: Layout): Promise<boolean> {
  return isSupported(await readFormat(layout))
}

/**
 * Checks that the directory is a store that this version can read. Throws UnusableDirectory otherwise: nothing in such a
 * directory may be counted, let alone removed.
 */
export async function requireStore(layout: Layout): Promise<void> {
  const format = await ifThere(readFile(layout.format, 'utf8'))
  if (format === undefined) {
    throw new UnusableDirectory(
      `${layout.root} is not a store of hubmirror. Give the directory of the mirror as --cache-dir or HUBMIRROR_CACHE_DIR.`,
    )
  }
  if (!isSupported(format)) throw otherVersion(layout, format)
}

function isSupported(format: string | undefined): boolean {
  return format === FORMAT || format === OLDER_FORMAT
}

function otherVersion(layout: Layout, format: string): UnusableDirectory {
  const [found, own, older] = [format.slice(0, 40), FORMAT, OLDER_FORMAT].map((text) => JSON.stringify(text))
  return new UnusableDirectory(
    `${layout.root} was written by another version (format ${found}; this version supports ${own} and ${older}). ` +
      'Use that version, or another HUBMIRROR_CACHE_DIR.',
  )
}

/** The error of a volume that is mounted read-only (EROFS); undefined when it is writable, or fails in another way. */
export async function writeRefusal(layout: Layout): Promise<Error | undefined> {
  try {
    await access(layout.root, constants.W_OK)
    return undefined
  } catch (error) {
    // Only EROFS counts, which stops root as well. Missing permissions of another user are reported by the lock.
    return errorCode(error) === 'EROFS' && error instanceof Error ? error : undefined
  }
}

/**
 * Empties tmp/ and handoff/, and makes what is missing. The caller holds the lock: without it, a running mirror may use the
 * files in them.
 */
export async function prepareDirectory(layout: Layout): Promise<void> {
  // Checked again: another mirror may have made it a store of another version before we had the lock.
  await checkDirectory(layout)
  // A git that has outlived a killed mirror may still write there.
  await rm(layout.tmp, { recursive: true, force: true, maxRetries: 3 })
  await rm(layout.handoff, { recursive: true, force: true })
  await mkdir(layout.tmp, { mode: 0o700 })
  if ((await readFormat(layout)) !== FORMAT) {
    // Written first: a directory that has other files and no FORMAT is refused at the next start. From here on an earlier
    // version refuses the store, also while its facts are still being moved.
    await writeAtomic(layout.tmp, layout.format, FORMAT, { durable: true })
  }
  if ((await ifThere(lstat(layout.cacheDirTag))) === undefined) {
    await writeAtomic(layout.tmp, layout.cacheDirTag, CACHEDIR_TAG, { durable: false })
  }
  for (const directory of [layout.blobs, layout.partials, layout.facts]) {
    await makeDirectory(directory)
  }
}

async function checkOwner(layout: Layout): Promise<void> {
  const stats = await stat(layout.root)
  if (!stats.isDirectory()) throw new UnusableDirectory(`${layout.root} is not a directory.`)
  const user = process.getuid?.()
  // A directory of root is accepted: root can do anything to us anyway, and volumes shared by a group belong to root.
  if (user !== undefined && user !== 0 && stats.uid !== user && stats.uid !== 0) {
    throw new UnusableDirectory(
      `${layout.root} belongs to user ${stats.uid}, not to ${user}. Change its owner to the user of the mirror.`,
    )
  }
  if ((stats.mode & 0o002) !== 0 && (stats.mode & 0o1000) === 0) {
    throw new UnusableDirectory(`All users may write to ${layout.root}. Remove that permission (chmod o-w).`)
  }
}

/** The content of FORMAT. A crash can leave zero bytes in place of the content; they count as no content. */
async function readFormat(layout: Layout): Promise<string | undefined> {
  const text = await ifThere(readFile(layout.format, 'utf8'))
  return text?.replace(/^\0+$/, '')
}

async function checkEmpty(layout: Layout): Promise<void> {
  await checkNames(layout, async (name) => name === 'tmp' && (await isOurTmp(layout)))
}

async function checkOwnNames(layout: Layout): Promise<void> {
  const { format, cacheDirTag, blobs, allSums, partials, quarantine, handoff, facts, git, control, tmp } =
    layout
  const folders = [blobs, allSums, partials, quarantine, handoff, facts, git, control, tmp]
  const own = [format, cacheDirTag, ...folders].map((file) => path.basename(file))
  await checkNames(layout, (name) => own.includes(name) || POSITION_NAME.test(name))
}

/** Throws UnusableDirectory if `root` contains a name that `isOwn` rejects and that cannot come from before the first start. */
async function checkNames(
  layout: Layout,
  isOwn: (name: string) => boolean | Promise<boolean>,
): Promise<void> {
  for (const name of await readdir(layout.root)) {
    if (name === 'lost+found' || LOCK_NAME.test(name) || EARLY_NAME.test(name)) continue
    if (TEMPORARY_NAME.test(name) || (await isOwn(name))) continue
    throw new UnusableDirectory(
      `${layout.root} contains other files and is not a store of hubmirror. Choose an empty HUBMIRROR_CACHE_DIR.`,
    )
  }
}

async function isOurTmp(layout: Layout): Promise<boolean> {
  if (!(await lstat(layout.tmp)).isDirectory()) return false
  return (await readdir(layout.tmp)).every((name) => TEMPORARY_NAME.test(name))
}
