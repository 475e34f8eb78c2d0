// What a process has cost, as the kernel has it. Linux only, like the servers it measures.

import { readdirSync, readFileSync } from 'node:fs'

const TICKS_PER_SECOND = 100

/** The process and all that descend from it. */
export function family(pid: number): number[] {
  const parents = new Map<number, number>()
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'utf8')
      parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]))
    } catch {
      // Ended meanwhile.
    }
  }
  const found = [pid]
  for (const member of found) for (const [child, parent] of parents) if (parent === member) found.push(child)
  return found
}

/** User and system time of the family so far. */
export function cpuSeconds(pid: number): number {
  let ticks = 0
  for (const member of family(pid)) {
    const stat = readFileSync(`/proc/${member}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    ticks += Number(fields[11]) + Number(fields[12])
  }
  return ticks / TICKS_PER_SECOND
}

/** Highest resident size the process has had, of the largest in the family. */
export function peakRssBytes(pid: number): number {
  return Math.max(...family(pid).map((member) => statusBytes(member, 'VmHWM')))
}

/** Resident size now, of the largest in the family. */
export function rssBytes(pid: number): number {
  return Math.max(...family(pid).map((member) => statusBytes(member, 'VmRSS')))
}

/** Starts the peak of the family anew. */
export function resetPeakRss(pid: number, write: (file: string, text: string) => void): void {
  for (const member of family(pid)) write(`/proc/${member}/clear_refs`, '5')
}

function statusBytes(pid: number, field: string): number {
  const line = new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
  return Number(line?.[1] ?? 0) * 1024
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
}
