// Runs one client as a child process in an environment that knows nothing of this machine's own: no tokens, no
// settings, a home of its own. Every host but `localhost` and `::1` is behind a proxy that refuses, so that a client which is
// led past the mirror (to the Hub or to the CDN, which have addresses of IPv4) fails at once.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { PLACE } from './place.ts'

/** What a client left behind. */
export interface Finished {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

/** How to run it. `home` is where it keeps its files; the caller makes and removes it. */
export interface RunOptions {
  readonly home: string
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
  /** Whether it may reach the Hub and the CDN themselves. */
  readonly direct?: boolean
}

const NOWHERE = 'http://127.0.0.1:9'
/** Less than a test may take, so that a client which hangs is named, and gone. */
const WITHIN_MS = 120_000

/** The whole environment of a client: nothing of this machine's, and only the hosts it may reach. */
export function clientEnvironment(options: Pick<RunOptions, 'home' | 'direct'>): Record<string, string> {
  const allowed = options.direct === true ? 'localhost,127.0.0.1,127.0.0.2' : 'localhost,::1'
  return {
    PATH: process.env['PATH'] ?? '',
    LANG: 'C.UTF-8',
    HOME: options.home,
    HTTP_PROXY: NOWHERE,
    HTTPS_PROXY: NOWHERE,
    http_proxy: NOWHERE,
    https_proxy: NOWHERE,
    NO_PROXY: allowed,
    no_proxy: allowed,
    ...PLACE.trust,
  }
}

/** Runs to the end, or until it is killed for taking too long. Never throws for a bad exit status. */
export async function run(command: string, args: readonly string[], options: RunOptions): Promise<Finished> {
  const child = spawn(command, args, {
    cwd: options.cwd ?? options.home,
    env: { ...clientEnvironment(options), ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: WITHIN_MS,
    killSignal: 'SIGKILL',
  })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  await once(child, 'close')
  return { status: child.exitCode, stdout, stderr }
}

/** Runs a client whose last line of output is JSON, and returns that. Throws with all it said when it fails. */
export async function runForJson(
  command: string,
  args: readonly string[],
  options: RunOptions,
): Promise<unknown> {
  return jsonOf(await run(command, args, options), [command, ...args])
}

/** What the last line of its output says, which is JSON. Throws with all it said when it has failed. */
export function jsonOf({ status, stdout, stderr }: Finished, command: readonly string[]): unknown {
  const last = stdout.trimEnd().split('\n').at(-1) ?? ''
  if (status !== 0) throw new Error(`${command.join(' ')} ended with ${status}:\n${stdout}${stderr}`)
  return JSON.parse(last)
}
