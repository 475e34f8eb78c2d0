// The bench's end of a client process.

import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import type { Job, ResultOf, Said } from './job.ts'

const PROGRAM = fileURLToPath(new URL('./main.ts', import.meta.url))

type Child = ChildProcessByStdio<Writable, Readable, null>

/** A client process, which takes one job at a time. The caller must stop it. */
export class Client {
  readonly #deadlineMs: number
  #child: Child
  #lines: AsyncIterator<string>
  #isStopped = false

  /** A job that takes longer than `deadlineSeconds` is abandoned. */
  constructor(deadlineSeconds: number) {
    this.#deadlineMs = deadlineSeconds * 1000
    this.#child = start()
    this.#lines = linesOf(this.#child)
  }

  /** Rejects with the reason when an answer was wrong or took too long. */
  async play<J extends Job>(job: J): Promise<ResultOf<J>> {
    if (this.#isStopped) throw new Error('the bench ends')
    const child = this.#child
    child.stdin.write(`${JSON.stringify(job)}\n`)
    const timer = setTimeout(() => child.kill('SIGKILL'), this.#deadlineMs)
    const line = await this.#lines.next()
    clearTimeout(timer)
    if (line.done === true) {
      if (this.#isStopped) throw new Error('the bench ends')
      const isLate = child.killed
      this.#child = start()
      this.#lines = linesOf(this.#child)
      throw new Error(isLate ? `not done within ${this.#deadlineMs / 1000} s` : 'the client ended')
    }
    const said = JSON.parse(line.value) as Said
    if (!said.ok) throw new Error(said.error)
    return said.result as ResultOf<J>
  }

  /** Ends the process, also during a job. */
  async stop(): Promise<void> {
    if (this.#isStopped) return
    this.#isStopped = true
    const ended = once(this.#child, 'close')
    this.#child.kill('SIGKILL')
    await ended
  }
}

function start(): Child {
  return spawn(process.execPath, ['--import', 'tsx', PROGRAM], { stdio: ['pipe', 'pipe', 'inherit'] })
}

function linesOf(child: Child): AsyncIterator<string> {
  return createInterface({ input: child.stdout })[Symbol.asyncIterator]()
}
