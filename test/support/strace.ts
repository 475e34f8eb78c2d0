// Makes system calls of a running process fail, by strace. Says so loudly where it may not.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { eventually } from './eventually.ts'

/** A tool of the system, brought by test/faults/setup.sh and not by a package. */
const TRACER = 'strace'

/** Why no system call can be made to fail here; undefined where it can. On a build server that is a failure. */
export async function whyNoStrace(): Promise<string | undefined> {
  const sleeper = spawn('sleep', ['60'], { stdio: 'ignore' })
  try {
    // To trace a process that it has not started itself may be forbidden where strace as such is not.
    await (await inject(sleeper.pid ?? 0, 'fdatasync', 'EIO')).end()
    return undefined
  } catch (error) {
    if (process.env['CI'] === 'true') throw error
    const reason = error instanceof Error ? error.message.trim() : String(error)
    console.warn(`SKIPPED: failing system calls need strace and the right to trace (${reason})`)
    return reason
  } finally {
    sleeper.kill('SIGKILL')
  }
}

export interface Injection {
  /** How many calls were made to fail so far. */
  struck(): Promise<number>
  /** Lets calls be again; gives back how many had failed. */
  end(): Promise<number>
}

/**
 * From now on the `calls` (`pwrite64,pwritev`) of the process fail with `error`, or only those on `paths`. Whoever
 * begins it ends it, before the process ends.
 */
export async function inject(
  pid: number,
  calls: string,
  error: string,
  paths: readonly string[] = [],
): Promise<Injection> {
  const directory = await mkdtemp(join(tmpdir(), 'hubmirror-strace-'))
  const record = join(directory, 'record')
  const only = paths.flatMap((path) => ['-P', path])
  const fault = ['-e', `trace=${calls}`, '-e', `inject=${calls}:error=${error}`]
  const tracer = spawn(TRACER, ['-f', '-o', record, ...only, ...fault, '-p', String(pid)], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  await once(tracer, 'spawn')
  const ended = once(tracer, 'close')
  let said = ''
  tracer.stderr.on('data', (chunk: Buffer) => {
    said += chunk.toString()
  })
  const struck = async () => (await readFile(record, 'utf8')).split('(INJECTED)').length - 1
  await eventually(
    () => (tracer.exitCode === null ? said : `ended: ${said}`),
    (text) => /ended:|attached/.test(text),
  )
  if (tracer.exitCode !== null) throw new Error(`strace ${said}`)
  return {
    struck,
    async end() {
      tracer.kill('SIGINT')
      await ended
      const count = await struck()
      await rm(directory, { recursive: true, force: true })
      return count
    },
  }
}
