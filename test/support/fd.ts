// The files that a process has open, as Linux reports them. This file does not know which code opened them.

import { readdir, readlink } from 'node:fs/promises'
import { join } from 'node:path'

/** The targets of all descriptors of `pid` that lie below `directory`; removed files count, too. */
export async function openFilesBelow(directory: string, pid: number | 'self' = 'self'): Promise<string[]> {
  const folder = `/proc/${pid}/fd`
  const targets = await Promise.all(
    // A descriptor may close between the two calls.
    (await readdir(folder)).map((name) => readlink(join(folder, name)).catch(() => '')),
  )
  return targets.filter((target) => target.startsWith(`${directory}/`))
}

/** How many descriptors the process has. */
export async function openCount(pid: number | 'self' = 'self'): Promise<number> {
  return (await readdir(`/proc/${pid}/fd`)).length
}

/** The number that the next descriptor of the process gets. With a limit of this many it gets none. */
export async function firstFree(pid: number): Promise<number> {
  const taken = new Set(await readdir(`/proc/${pid}/fd`))
  let number = 0
  while (taken.has(String(number))) number += 1
  return number
}
