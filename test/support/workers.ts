// The processes of a mirror with workers, as Linux reports them. This file does not know their messages.

import { readFileSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { createConnection } from 'node:net'
import { eventually } from './eventually.ts'

/** The processes that `pid` has started and that still run, oldest first. */
export async function childrenOf(pid: number): Promise<number[]> {
  const children: number[] = []
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const stat = await readFile(`/proc/${name}/stat`, 'utf8').catch(() => '')
    const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    if (Number(parent) === pid && state !== 'Z') children.push(Number(name))
  }
  return children.sort((a, b) => a - b)
}

/** Whether the process is there. */
export async function isRunning(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  return stat !== '' && stat.slice(stat.lastIndexOf(')') + 2)[0] !== 'Z'
}

/** Resolves once the process has ended. */
export async function whenGone(pid: number): Promise<void> {
  await eventually(
    () => isRunning(pid),
    (isThere) => !isThere,
  )
}

/** Bytes that the process has read by system calls, sockets included. */
export function bytesRead(pid: number): number {
  return Number(/^rchar: (\d+)/m.exec(readFileSync(`/proc/${pid}/io`, 'utf8'))?.[1])
}

/** Whether a process takes connections there. */
export function isOpen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ host: '127.0.0.1', port })
    const settle = (open: boolean) => {
      socket.destroy()
      resolve(open)
    }
    socket.once('connect', () => settle(true))
    socket.once('error', () => settle(false))
  })
}
