// Makes system calls of a running process fail, or records them, by strace. Reports on the terminal if that is not
// allowed.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { skippedFor } from './absent.ts'
import { eventually } from './eventually.ts'

/** A tool of the system, brought by test/faults/setup.sh and not by a package. */
const TRACER = 'strace'

/** Why no system call can be made to fail here; undefined if it can. */
export async function whyNoStrace(): Promise<string | undefined> {
  const sleeper = spawn('sleep', ['60'], { stdio: 'ignore' })
  try {
    // Tracing a process that strace has not started may be forbidden although strace itself is not.
    await (await inject(sleeper.pid ?? 0, 'fdatasync', 'EIO')).end()
    return undefined
  } catch (error) {
    return skippedFor('failing system calls, which need strace and the right to trace', error)
  } finally {
    sleeper.kill('SIGKILL')
  }
}

export interface Injection {
  /** How many calls have failed so far. */
  struck(): Promise<number>
  /** Stops that. Returns how many calls had failed. */
  end(): Promise<number>
}

/**
 * From now on the `calls` (such as `pwrite64,pwritev`) of the process fail with `error`, or only those on `paths`. The
 * caller must stop that before the process ends.
 */
export async function inject(
  pid: number,
  calls: string,
  error: string,
  paths: readonly string[] = [],
): Promise<Injection> {
  const only = paths.flatMap((path) => ['-P', path])
  const fault = ['-e', `trace=${calls}`, '-e', `inject=${calls}:error=${error}`]
  const { lines, end } = await trace([pid], [...only, ...fault])
  const count = (all: readonly string[]) => all.filter((line) => line.includes('(INJECTED)')).length
  return { struck: async () => count(await lines()), end: async () => count(await end()) }
}

export interface Watch {
  /** The calls so far, one per line, with arguments and results. */
  readonly lines: () => Promise<readonly string[]>
  /** Stops that. Returns all calls. */
  readonly end: () => Promise<readonly string[]>
}

/** From now on the `calls` (`%file`, `pread64`) of the processes are recorded. The caller must stop that. */
export function watchCalls(pids: readonly number[], calls: string): Promise<Watch> {
  return trace(pids, ['-e', `trace=${calls}`])
}

async function trace(pids: readonly number[], options: readonly string[]): Promise<Watch> {
  const directory = await mkdtemp(join(tmpdir(), 'hubmirror-strace-'))
  const record = join(directory, 'record')
  const targets = pids.flatMap((pid) => ['-p', String(pid)])
  const tracer = spawn(TRACER, ['-f', '-o', record, ...options, ...targets], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  await once(tracer, 'spawn')
  const ended = once(tracer, 'close')
  let said = ''
  tracer.stderr.on('data', (chunk: Buffer) => {
    said += chunk.toString()
  })
  const lines = async () => (await readFile(record, 'utf8')).split('\n').filter((line) => line !== '')
  await eventually(
    () => (tracer.exitCode === null ? said : `ended: ${said}`),
    (text) => /ended:/.test(text) || pids.every((pid) => text.includes(`Process ${pid} attached`)),
  )
  if (tracer.exitCode !== null) throw new Error(`strace ${said}`)
  return {
    lines,
    async end() {
      tracer.kill('SIGINT')
      await ended
      const all = await lines()
      await rm(directory, { recursive: true, force: true })
      return all
    },
  }
}
