// What a server costs, by the kernel's figures: sums over the process and all its descendants, so that workers count.
// Linux only, like the servers it measures.

import { readdirSync, readFileSync, writeFileSync } from 'node:fs'

const TICKS_PER_SECOND = 100

/** The process and all its descendants. */
function family(pid: number): readonly number[] {
  const parents = new Map<number, number>()
  for (const name of readdirSync('/proc')) {
    if (/^\d+$/.test(name)) parents.set(Number(name), Number(statFields(Number(name))[1]))
  }
  const found = [pid]
  for (const member of found) for (const [child, parent] of parents) if (parent === member) found.push(child)
  return found
}

/** User and system time so far, in seconds, to a hundredth. It includes threads that have ended. */
export function cpuSeconds(pid: number): number {
  return sum(pid, (member) => {
    const fields = statFields(member)
    return (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) / TICKS_PER_SECOND
  })
}

/** The same for its first thread alone, which is the one that answers clients in Node. */
export function firstThreadCpuSeconds(pid: number): number {
  const fields = statFields(`${pid}/task/${pid}`)
  return (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) / TICKS_PER_SECOND
}

/** Highest resident size since the last reset. Shared memory is counted in each process. */
export function peakRssBytes(pid: number): number {
  return sum(pid, (member) => statusBytes(member, 'VmHWM'))
}

/** Resident size now. */
export function rssBytes(pid: number): number {
  return sum(pid, (member) => statusBytes(member, 'VmRSS'))
}

/** Resets the peak. */
export function resetPeakRss(pid: number): void {
  for (const member of family(pid)) writeFileSync(`/proc/${member}/clear_refs`, '5')
}

/** Open descriptors now. */
export function openDescriptors(pid: number): number {
  return sum(pid, (member) => readdirSync(`/proc/${member}/fd`).length)
}

function sum(pid: number, figure: (member: number) => number): number {
  return family(pid).reduce((total, member) => total + figure(member), 0)
}

/** The fields of /proc/PID/stat from the third on. Empty when the process has ended. */
function statFields(pid: number | string): readonly string[] {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  } catch {
    return []
  }
}

function statusBytes(pid: number, field: string): number {
  const line = new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
  return Number(line?.[1] ?? 0) * 1024
}
