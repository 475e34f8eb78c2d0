// What this machine charges for the steps of which serving consists. A ratio between two servers depends on these prices,
// since one pays more often for one step and the other for another. So they stand beside the figures of each run.
//
// CPU time of this process, system time and other threads included. The work of the kernel for a socket is counted where it
// happens to run, so the price of loopback includes both ends.

import {
  closeSync,
  fstat,
  mkdtempSync,
  openSync,
  read,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import net from 'node:net'
import { loadavg, tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import type { Host } from './report.ts'
import { median } from './statistics.ts'

const MIB = 1024 * 1024
/** Larger than the caches of a core, as the pages of a large file are. */
const REGION_BYTES = 64 * MIB
const ROUNDS = 5

/** Measures for a second or two. Nothing else should run meanwhile. */
export async function measureHost(): Promise<Host> {
  const directory = mkdtempSync(path.join(tmpdir(), 'hubmirror-host-'))
  const file = path.join(directory, 'region')
  writeFileSync(file, Buffer.alloc(REGION_BYTES, 'x'))
  const descriptor = openSync(file, 'r')
  try {
    return {
      systemCallUs: await price(
        20_000,
        repeat(() => process.getuid?.()),
      ),
      threadTurnUs: await price(2000, async (count) => {
        for (let turn = 0; turn < count; turn += 1) await statOf(descriptor)
      }),
      copyMsPerMib: (await price(REGION_BYTES / MIB, copies())) / 1000,
      fileMsPerMib: (await price(REGION_BYTES / MIB, reads(descriptor))) / 1000,
      fileThreadMsPerMib: (await price(REGION_BYTES / MIB, readsOfThreads(descriptor))) / 1000,
      loopbackMsPerMib: (await price(REGION_BYTES / MIB, loopback)) / 1000,
      load: loadavg()[0] ?? 0,
      stolen: stolenShare(),
    }
  } finally {
    closeSync(descriptor)
    rmSync(directory, { recursive: true, force: true })
  }
}

const statOf = promisify(fstat)
const readOf = promisify(read)

/** The CPU time of one of `count` steps, in microseconds: the median of some rounds, after one that is not counted. */
async function price(count: number, act: (count: number) => Promise<void> | void): Promise<number> {
  const prices: number[] = []
  for (let round = -1; round < ROUNDS; round += 1) {
    const before = process.cpuUsage()
    await act(count)
    const { user, system } = process.cpuUsage(before)
    if (round >= 0) prices.push((user + system) / count)
  }
  return median(prices)
}

function repeat(step: () => void): (count: number) => void {
  return (count) => {
    for (let index = 0; index < count; index += 1) step()
  }
}

function copies(): (count: number) => void {
  const [from, to] = [Buffer.alloc(REGION_BYTES, 'x'), Buffer.alloc(REGION_BYTES)]
  return (count) => {
    for (let index = 0; index < count; index += 1) from.copy(to, index * MIB, index * MIB, (index + 1) * MIB)
  }
}

function reads(descriptor: number): (count: number) => void {
  const buffer = Buffer.alloc(MIB)
  return (count) => {
    for (let index = 0; index < count; index += 1) readSync(descriptor, buffer, 0, MIB, index * MIB)
  }
}

function readsOfThreads(descriptor: number): (count: number) => Promise<void> {
  const buffer = Buffer.alloc(MIB)
  return async (count) => {
    for (let index = 0; index < count; index += 1) await readOf(descriptor, buffer, 0, MIB, index * MIB)
  }
}

/** Sends this many MiB to this process itself. */
async function loopback(count: number): Promise<void> {
  const piece = Buffer.alloc(MIB, 'x')
  const server = net.createServer((socket) => {
    let left = count
    const send = (): void => {
      left -= 1
      if (left < 0) socket.end()
      else socket.write(piece, send)
    }
    send()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as net.AddressInfo
  await new Promise<void>((resolve, reject) => {
    const onread = { buffer: Buffer.alloc(MIB), callback: () => true }
    net
      .connect({ port, host: '127.0.0.1', onread })
      .on('error', reject)
      .on('close', () => resolve())
  })
  await new Promise((resolve) => server.close(resolve))
}

/** The share of time, since the machine started, in which a hypervisor ran others instead of it. */
function stolenShare(): number {
  const fields =
    readFileSync('/proc/stat', 'utf8').split('\n', 1)[0]?.split(/\s+/).slice(1, 9).map(Number) ?? []
  const total = fields.reduce((sum, ticks) => sum + ticks, 0)
  return total === 0 ? 0 : (fields[7] ?? 0) / total
}
