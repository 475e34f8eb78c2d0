// A network namespace whose one route leads to this machine by an address of its own: what listens on loopback cannot be reached from
// there, nor any other host. Needs root, and reports on the terminal if that is missing.

import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, readlink } from 'node:fs/promises'
import { promisify } from 'node:util'
import { skippedFor } from '../../support/absent.ts'
import { eventually } from '../../support/eventually.ts'

const execute = promisify(execFile)

/** The caller must close it. */
export interface Namespace {
  /** The address by which this machine is reached from inside. */
  readonly address: string
  /** What stands before a command that is to run inside. */
  readonly inside: readonly string[]
  /** How often something inside has tried to reach an address to which no route leads, by IPv4 or IPv6, DNS included. */
  strayed(): Promise<number>
  /** Ends it, with its interfaces. */
  close(): Promise<void>
}

/** Why there can be no namespace here; undefined if there can. */
export async function whyNoNamespace(): Promise<string | undefined> {
  try {
    await (await openNamespace()).close()
    return undefined
  } catch (error) {
    return skippedFor('a network that leads to the mirror only, which needs root for a namespace', error)
  }
}

/** Opens a namespace. Rejects without the rights. */
export async function openNamespace(): Promise<Namespace> {
  // It ends with its standard input, so that no namespace outlives a test that is killed.
  const holder = spawn('unshare', ['--net', 'cat'], { stdio: ['pipe', 'ignore', 'pipe'] })
  let said = ''
  holder.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  const ended = once(holder, 'close')
  const close = async (): Promise<void> => {
    holder.stdin.end()
    await ended
  }
  const pid = String(holder.pid)
  try {
    const own = await readlink('/proc/self/ns/net')
    await eventually(
      async () => {
        if (holder.exitCode !== null) throw new Error(said)
        return readlink(`/proc/${pid}/ns/net`)
      },
      (other) => other !== own,
    )
    // A network of four addresses for each process of tests, two of which are used.
    const base = `10.${64 + ((process.pid >> 14) & 63)}.${(process.pid >> 6) & 255}`
    const [address, client] = [1, 2].map((last) => `${base}.${(process.pid & 63) * 4 + last}`)
    const [outer, inner] = [`hm${process.pid}a`, `hm${process.pid}b`]
    const enter = ['--target', pid, '--net', '--']
    const ip = (...args: string[]) => execute('ip', args)
    const ipInside = (...args: string[]) => execute('nsenter', [...enter, 'ip', ...args])
    await ip('link', 'add', outer, 'type', 'veth', 'peer', 'name', inner, 'netns', pid)
    await ip('address', 'add', `${address}/30`, 'dev', outer)
    await ip('link', 'set', outer, 'up')
    await ipInside('address', 'add', `${client}/30`, 'dev', inner)
    await ipInside('link', 'set', inner, 'up')
    await ipInside('link', 'set', 'lo', 'up')
    return {
      address: address ?? '',
      inside: ['nsenter', ...enter],
      strayed: () => strayed(pid),
      async close() {
        // The kernel ends a namespace some time after its last process. Until then its interfaces keep their names.
        await ip('link', 'delete', outer)
        await close()
      },
    }
  } catch (error) {
    await close()
    throw error
  }
}

/** The counters of packets without a route, of the namespace in which this process is. */
async function strayed(pid: string): Promise<number> {
  const [first, second] = await Promise.all(
    ['snmp', 'snmp6'].map((name) => readFile(`/proc/${pid}/net/${name}`, 'utf8')),
  )
  const [names = [], values = []] = (first?.match(/^Ip: .*$/gm) ?? []).map((line) => line.split(' '))
  const byIp = values[names.indexOf('OutNoRoutes')]
  const byIp6 = /^Ip6OutNoRoutes\s+(\d+)$/m.exec(second ?? '')?.[1]
  if (byIp === undefined || byIp6 === undefined)
    throw new Error('the kernel does not count packets without a route')
  return Number(byIp) + Number(byIp6)
}
