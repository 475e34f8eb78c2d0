// Allows one mirror per cache directory. With the optional addon, a lock of the kernel decides. The lock file also names its
// owner, so that a mirror with the addon and one without it exclude each other. Without the addon the file alone decides:
// it can tell whether a process of this machine is alive, but not one of another container or host.

import { createHash, randomBytes } from 'node:crypto'
import { constants as fsConstants } from 'node:fs'
import { type FileHandle, link, lstat, open, readFile, rename, unlink, writeFile } from 'node:fs/promises'
import { constants } from 'node:os'
import path from 'node:path'
import { parseRecord } from '../records.ts'
import { errorCode, isMissing } from './atomic.ts'
import type { Layout } from './layout.ts'

interface Owner {
  readonly pid: number
  readonly bootId: string
  readonly startedTicks: string
}

/** Thrown when another process holds the directory. */
export class DirectoryInUse extends Error {
  constructor(directory: string, pid: number | undefined) {
    const who = pid === undefined ? 'Another hubmirror' : `Another hubmirror (process ${pid})`
    super(`${who} uses ${directory}. Stop it, or give this mirror its own directory (HUBMIRROR_CACHE_DIR).`)
    this.name = 'DirectoryInUse'
  }
}

/** Locks an open file, or `length` bytes of it from `offset` on, for as long as it is open. False when it is locked already. */
export interface KernelLock {
  tryLock(fd: number, offset?: number, length?: number): boolean
}

const OPEN_LOCK = fsConstants.O_RDWR | fsConstants.O_CREAT | fsConstants.O_NOFOLLOW

/**
 * Locks the directory until the returned function is called, or the process ends in any way. `kernel` is the addon;
 * undefined to do without it. When the volume has no kernel locks, the lock file alone guards the directory, and
 * `onNoKernelLock` is called. Throws DirectoryInUse, and LocksUnsupported when the volume has no hard links either.
 */
export async function lockDirectory(
  layout: Layout,
  kernel: KernelLock | undefined,
  onNoKernelLock?: (error: unknown) => void,
): Promise<() => Promise<void>> {
  if (kernel === undefined) return lockByName(layout)
  try {
    return await lockByKernel(layout, kernel)
  } catch (error) {
    if (!isUnsupported(error)) throw error
    onNoKernelLock?.(error)
    return lockByName(layout)
  }
}

/** The process that holds the directory, as the lock file says it. Undefined if none does, or it is none of this machine. */
export async function lockOwner(layout: Layout): Promise<number | undefined> {
  const owner = parseOwner((await readLock(layout.lock)) ?? '')
  return owner !== undefined && (await isAlive(owner)) ? owner.pid : undefined
}

/** Thrown when the volume offers no way to exclude a second mirror. */
export class LocksUnsupported extends Error {
  constructor(directory: string, cause: unknown) {
    super(
      `The volume of ${directory} has neither file locks nor hard links, so two mirrors could write to it at once. ` +
        'Use a volume with file locks (NFS with its lock service), or a local disk (HUBMIRROR_CACHE_DIR).',
      { cause },
    )
    this.name = 'LocksUnsupported'
  }
}

/** The errors of fcntl(2), flock(2) and link(2) when a volume does not support file locks or hard links. */
const UNSUPPORTED: ReadonlySet<number> = new Set([
  constants.errno.ENOLCK,
  constants.errno.ENOSYS,
  constants.errno.ENOTSUP,
  constants.errno.EOPNOTSUPP,
  constants.errno.EINVAL,
])

/** The addon reports an error that has no name by its number: "Unknown system error -37". */
function isUnsupported(error: unknown): boolean {
  const code = errorCode(error) ?? ''
  const named = constants.errno[code as keyof typeof constants.errno] as number | undefined
  return UNSUPPORTED.has(named ?? Number(/-(\d+)$/.exec(code)?.[1]))
}

async function lockByKernel(layout: Layout, kernel: KernelLock): Promise<() => Promise<void>> {
  const handle = await open(layout.lock, OPEN_LOCK, 0o600)
  try {
    const locked = kernel.tryLock(handle.fd)
    // Read after the attempt: an owner that has just released the lock has emptied the file.
    const owner = parseOwner(await readWhole(handle))
    const self = await describeSelf()
    const other = owner !== undefined && !isSame(owner, self) && (await isAlive(owner))
    if (!locked || other) throw new DirectoryInUse(layout.root, owner?.pid)
    // Written in place: after a rename, the lock would be on a file that has no name.
    await handle.truncate(0)
    await handle.write(JSON.stringify(self), 0)
    // A mirror without the addon may have replaced the file while it named no owner.
    const [mine, named] = await Promise.all([handle.stat(), lstat(layout.lock)])
    if (mine.ino !== named.ino) throw new DirectoryInUse(layout.root, undefined)
  } catch (error) {
    await handle.close()
    throw error
  }
  return async () => {
    await handle.truncate(0).catch(() => undefined)
    await handle.close()
  }
}

async function lockByName(layout: Layout): Promise<() => Promise<void>> {
  const self = JSON.stringify(await describeSelf())
  const own = `${layout.lock}.${randomBytes(12).toString('hex')}`
  await writeFile(own, self, { flag: 'wx', mode: 0o600 })
  try {
    await takeName(layout, own, layout.lock)
  } catch (error) {
    // link(2) fails with EPERM when the file system has no hard links.
    if (isUnsupported(error) || errorCode(error) === 'EPERM') throw new LocksUnsupported(layout.root, error)
    throw error
  } finally {
    await unlink(own)
  }
  return () => unlockName(layout, self)
}

/** Makes `name` a hard link to `own`: of all processes that try, one succeeds. Throws DirectoryInUse. */
async function takeName(layout: Layout, own: string, name: string): Promise<void> {
  for (;;) {
    if (await linked(own, name)) return
    const found = await readLock(name)
    const owner = parseOwner(found ?? '')
    if (owner !== undefined && (await isAlive(owner))) throw new DirectoryInUse(layout.root, owner.pid)
    // The owner is dead. Which process succeeds it is decided by another name, derived from the content of the lock file and
    // taken in the same way. If we removed the dead file first, a slow rival could remove the file of the successor.
    const seen = createHash('sha256')
      .update(`${path.basename(name)} ${found}`)
      .digest('hex')
    const claim = `${layout.lock}.${seen.slice(0, 24)}`
    await takeName(layout, own, claim)
    if ((await readLock(name)) === found) {
      await rename(claim, name)
      return
    }
    await unlink(claim)
  }
}

async function linked(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to)
    return true
  } catch (error) {
    if (errorCode(error) === 'EEXIST') return false
    throw error
  }
}

async function unlockName(layout: Layout, self: string): Promise<void> {
  if ((await readLock(layout.lock)) === self) await unlink(layout.lock)
}

/** The content of a lock file; undefined when there is none, or a link is in its place. */
async function readLock(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, {
      encoding: 'utf8',
      flag: fsConstants.O_RDONLY | fsConstants.O_NOFOLLOW | fsConstants.O_NONBLOCK,
    })
  } catch (error) {
    if (isMissing(error) || errorCode(error) === 'ELOOP') return undefined
    throw error
  }
}

async function readWhole(handle: FileHandle): Promise<string> {
  const buffer = Buffer.alloc(1024)
  const { bytesRead } = await handle.read(buffer, 0, buffer.length, 0)
  return buffer.toString('utf8', 0, bytesRead)
}

/** The addon; undefined when it is not installed. It is an optional dependency, absent on musl and rare platforms. */
export async function loadKernelLock(): Promise<KernelLock | undefined> {
  try {
    const { default: addon } = await import('fs-native-extensions')
    return addon
  } catch {
    return undefined
  }
}

function parseOwner(text: string): Owner | undefined {
  const { pid, bootId, startedTicks } = parseRecord(text) ?? {}
  if (typeof pid !== 'number' || !Number.isSafeInteger(pid) || pid <= 0) return undefined
  if (typeof bootId !== 'string' || typeof startedTicks !== 'string') return undefined
  return { pid, bootId, startedTicks }
}

function isSame(a: Owner, b: Owner): boolean {
  return a.pid === b.pid && a.bootId === b.bootId && a.startedTicks === b.startedTicks
}

async function describeSelf(): Promise<Owner> {
  return { pid: process.pid, bootId: await bootId(), startedTicks: (await startedTicks(process.pid)) ?? '' }
}

/** Whether the process of the owner still runs, in the same boot. A pid alone may belong to another process by now. */
async function isAlive(owner: Owner): Promise<boolean> {
  if (owner.bootId !== (await bootId())) return false
  // Without /proc the start time is unknown, and the pid alone has to decide.
  if (owner.startedTicks === '') return isRunning(owner.pid)
  return (await startedTicks(owner.pid)) === owner.startedTicks
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return errorCode(error) === 'EPERM'
  }
}

async function bootId(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => '')).trim()
}

/**
 * The start time of a process: field 22 of /proc/<pid>/stat (proc(5)). Fields are counted after the command name, which may
 * contain spaces and parentheses. Undefined when the process has ended; a zombie (field 3) has ended, because it holds no
 * files any more.
 */
async function startedTicks(pid: number): Promise<string | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined)
  const fields = stat?.slice(stat.lastIndexOf(')') + 2).split(' ') ?? []
  return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19]
}
