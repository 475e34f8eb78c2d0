// Tests talk to loopback only: a connection anywhere else is a bug of the test or of the program.

import net from 'node:net'
import { Worker } from 'node:worker_threads'

const isLoopback = (host: string): boolean =>
  host === 'localhost' || host.endsWith('.localhost') || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host)

// Vitest runs this file before each file of tests, also where several of them share a process. The functions of Node are to be
// replaced once.
const guarded: typeof globalThis & { guardsNetwork?: boolean } = globalThis
if (guarded.guardsNetwork !== true) {
  guarded.guardsNetwork = true
  guardSockets()
  guardThreads()
}

function guardSockets(): void {
  const { connect } = net.Socket.prototype as { connect: (...args: never[]) => net.Socket }
  net.Socket.prototype.connect = function (this: net.Socket, ...args: unknown[]) {
    const first: unknown = Array.isArray(args[0]) ? args[0][0] : args[0]
    const host =
      typeof first === 'object' && first !== null
        ? ((first as net.TcpNetConnectOpts).host ?? ('path' in first ? undefined : 'localhost'))
        : typeof args[1] === 'string'
          ? args[1]
          : 'localhost'
    if (host !== undefined && !isLoopback(host)) throw new Error(`a test tried to reach ${host}`)
    return Reflect.apply(connect, this, args as never[])
  } as typeof net.Socket.prototype.connect
}

// A thread has a socket class of its own. What it is to reach comes in a message (origin/threads/body-threads.ts).
function guardThreads(): void {
  const post = Reflect.get(Worker.prototype, 'postMessage') as Worker['postMessage']
  Worker.prototype.postMessage = function (this: Worker, ...args) {
    const { origin } = args[0] as { readonly origin?: unknown }
    const host = typeof origin === 'string' ? new URL(origin).hostname.replace(/^\[|\]$/g, '') : 'localhost'
    if (!isLoopback(host)) throw new Error(`a test tried to reach ${host}`)
    post.apply(this, args)
  }
}
