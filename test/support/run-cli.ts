// The command line as an operator runs it: the built program, which `npm test` makes first.

import { type ChildProcess, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

export const ROOT = fileURLToPath(new URL('../..', import.meta.url))
/** The bin of the package; start it with Node. */
export const BIN = fileURLToPath(new URL('../../dist/launch.cjs', import.meta.url))

interface Result {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs the command in a process of its own, with no environment but the one given. */
export function run(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  nodeOptions: readonly string[] = [],
): Promise<Result> {
  return start(args, env, nodeOptions).done
}

/**
 * The same, with the process in which it runs. `done` has the status `null` if a signal ends it. With `hasStdin` the caller writes to its
 * stdin, and ends it.
 */
export function start(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  nodeOptions: readonly string[] = [],
  { hasStdin = false } = {},
): { readonly child: ChildProcess; readonly done: Promise<Result> } {
  const child = spawn(process.execPath, [...nodeOptions, BIN, ...args], {
    cwd: ROOT,
    env: { PATH: process.env['PATH'], HOME: '/nonexistent', ...env },
    stdio: [hasStdin ? 'pipe' : 'ignore', 'pipe', 'pipe'],
  })
  let [stdout, stderr] = ['', '']
  child.stdout?.on('data', (chunk: Buffer) => {
    stdout += chunk.toString()
  })
  child.stderr?.on('data', (chunk: Buffer) => {
    stderr += chunk.toString()
  })
  const done = new Promise<Result>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (status) => resolve({ status, stdout, stderr }))
  })
  return { child, done }
}
