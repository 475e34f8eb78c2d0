// One mirror per cache directory. The kernel's lock where the addon is there, else a file that names its owner.

import { constants } from 'node:fs'
import { open, readFile } from 'node:fs/promises'
import { writeAtomic } from './atomic.ts'
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
    super(`${who} uses ${directory}. Stop it, or give this one a directory of its own (HUBMIRROR_CACHE_DIR).`)
    this.name = 'DirectoryInUse'
  }
}

interface KernelLock {
  tryLock(fd: number): boolean
}

/** Takes the directory until the returned function is called or the process ends, however it ends. */
export async function lockDirectory(layout: Layout): Promise<() => Promise<void>> {
  const kernel = await loadKernelLock()
  const handle = await open(layout.lock, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600)
  const owner = parseOwner(await handle.readFile('utf8'))
  // Without the addon the file alone decides: its owner is alive if the same boot still runs the same process.
  const taken =
    kernel === undefined ? owner !== undefined && (await isAlive(owner)) : !kernel.tryLock(handle.fd)
  if (taken) {
    await handle.close()
    throw new DirectoryInUse(layout.root, owner?.pid)
  }
  const self = JSON.stringify(await describeSelf())
  if (kernel === undefined) {
    await handle.close()
    await writeAtomic(layout.tmp, layout.lock, self, { durable: false })
    return async () => writeAtomic(layout.tmp, layout.lock, '', { durable: false })
  }
  // Written in place: a rename would leave the lock on a file nobody sees.
  await handle.truncate(0)
  await handle.write(self, 0)
  return async () => {
    await handle.truncate(0).catch(() => undefined)
    await handle.close()
  }
}

async function loadKernelLock(): Promise<KernelLock | undefined> {
  try {
    const addon: unknown = await import('fs-native-extensions' as string)
    const loaded = typeof addon === 'object' && addon !== null && 'default' in addon ? addon.default : addon
    return isKernelLock(loaded) ? loaded : undefined
  } catch {
    // An optional dependency: absent on musl, on rare platforms and with --omit=optional.
    return undefined
  }
}

function isKernelLock(value: unknown): value is KernelLock {
  return (
    typeof value === 'object' && value !== null && 'tryLock' in value && typeof value.tryLock === 'function'
  )
}

function parseOwner(text: string): Owner | undefined {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value !== 'object' || value === null) return undefined
    const { pid, bootId, startedTicks } = value as Record<string, unknown>
    if (typeof pid !== 'number' || typeof bootId !== 'string' || typeof startedTicks !== 'string')
      return undefined
    return { pid, bootId, startedTicks }
  } catch {
    return undefined
  }
}

async function describeSelf(): Promise<Owner> {
  return { pid: process.pid, bootId: await bootId(), startedTicks: (await startedTicks(process.pid)) ?? '' }
}

async function isAlive(owner: Owner): Promise<boolean> {
  if (owner.bootId !== (await bootId())) return false
  return (await startedTicks(owner.pid)) === owner.startedTicks
}

async function bootId(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => '')).trim()
}

/** Field 22 of /proc/<pid>/stat, counted behind the command name, which may hold spaces and brackets. */
async function startedTicks(pid: number): Promise<string | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined)
  return stat?.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
}
