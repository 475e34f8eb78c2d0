// Runs the git program: finds it, and starts it so that nothing of the machine or of its user takes part (settings, credential
// helpers, hooks, .netrc), and nothing that came from outside can be taken for an option. Decides nothing.

import { type ChildProcess, spawn } from 'node:child_process'
import { Readable } from 'node:stream'
import { yieldToOthers } from '../low-priority.ts'

/** Older ones lack options that are used here. */
const OLDEST = [2, 32]
const LOOKS_FOR_MS = 30_000
const MAX_SAID_CHARS = 2000

/** Git has ended with a status that says that it failed. `said` is what it wrote to stderr, of which parts may come from the other side. */
export class GitFailed extends Error {
  readonly said: string

  constructor(what: string, said: string) {
    super(`git ${what} failed`)
    this.name = 'GitFailed'
    this.said = said.trim().slice(-MAX_SAID_CHARS)
  }
}

/** Settings for every call. Without a setting for a protocol, git may use none. */
const SETTINGS = [
  'protocol.allow=never',
  'core.hooksPath=/dev/null',
  'credential.helper=',
  'gc.auto=0',
  'maintenance.auto=false',
  'advice.detachedHead=false',
  // The owner of the store is checked when it is opened, and may be another user than that of the process.
  'safe.directory=*',
]

export interface GitRun {
  /** The subcommand and its arguments. Text from outside may only stand where git takes no options. */
  readonly args: readonly string[]
  /** The bare repository. */
  readonly directory: string
  readonly settings?: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  /** Kills git when it aborts. */
  readonly signal: AbortSignal
  readonly input?: Buffer | undefined
  /** Lets other processes of the machine go first. */
  readonly isLowPriority?: boolean
}

/** Starts git. The caller reads stdout, and learns from `ended` whether it was right. */
interface GitProcess {
  readonly stdout: Readable
  /** Resolves when git has ended with status 0. Rejects with the reason of `signal`, GitFailed, or another error if git could not run. */
  readonly ended: Promise<void>
}

/** Starts git in a bare repository. */
function startGit({
  args,
  directory,
  settings = [],
  env = {},
  signal,
  input,
  isLowPriority = false,
}: GitRun): GitProcess {
  const options = [...SETTINGS, ...settings].flatMap((setting) => ['-c', setting])
  const child: ChildProcess = spawn('git', [...options, `--git-dir=${directory}`, ...args], {
    cwd: directory,
    env: { ...gitEnvironment(), ...env },
    stdio: ['pipe', 'pipe', 'pipe'],
    // A group of its own, so that the programs which git starts are killed with it.
    detached: true,
  })
  const kill = (): void => killGroup(child)
  let said = ''
  // Before all else: without a listener, a failed start would end the process.
  const ended = new Promise<void>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (status, killedBy) => {
      signal.removeEventListener('abort', kill)
      if (status === 0) resolve()
      else if (signal.aborted) reject(signal.reason as Error)
      else if (status === null) reject(new Error(`git ${args[0]} was ended by ${killedBy}`))
      else reject(new GitFailed(args[0] ?? '', said))
    })
  })
  const { stdin, stdout, stderr } = child
  // Node makes no pipes when it has no descriptors for them.
  if (child.pid === undefined || stdin === null || stdout === null || stderr === null)
    return { stdout: Readable.from([]), ended }
  if (isLowPriority) yieldToOthers(child.pid)
  signal.addEventListener('abort', kill, { once: true })
  if (signal.aborted) kill()
  stderr.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-MAX_SAID_CHARS)
  })
  // Git may end before it has read its input; its status says why.
  stdin.on('error', () => undefined)
  stdin.end(input)
  return { stdout, ended }
}

/** Runs git to its end. Resolves with what it wrote to stdout, of at most `maxBytes`. Rejects as `ended` does. */
export async function runGit(run: GitRun, maxBytes: number): Promise<Buffer> {
  const tooLong = new AbortController()
  const { stdout, ended } = startGit({ ...run, signal: AbortSignal.any([run.signal, tooLong.signal]) })
  ended.catch(() => undefined)
  const chunks: Buffer[] = []
  let sizeBytes = 0
  for await (const part of stdout) {
    const chunk = part as Buffer
    sizeBytes += chunk.length
    if (sizeBytes <= maxBytes) chunks.push(chunk)
    else tooLong.abort(new GitFailed(run.args[0] ?? '', 'the output is too long'))
  }
  await ended
  return Buffer.concat(chunks)
}

/** Runs git, and yields what it writes to stdout as it comes. Throws as `ended` does. Git is killed if the iteration ends early. */
export async function* streamGit(run: GitRun): AsyncGenerator<Buffer, void, undefined> {
  const left = new AbortController()
  const { stdout, ended } = startGit({ ...run, signal: AbortSignal.any([run.signal, left.signal]) })
  ended.catch(() => undefined)
  try {
    for await (const chunk of stdout) yield chunk as Buffer
    await ended
  } finally {
    left.abort(new Error('the output of git is not read any more'))
  }
}

/** Whether a git that is new enough can be started. Never rejects. */
export async function hasGit(): Promise<boolean> {
  const child: ChildProcess = spawn('git', ['--version'], {
    env: gitEnvironment(),
    stdio: ['ignore', 'pipe', 'ignore'],
    timeout: LOOKS_FOR_MS,
  })
  const ended = new Promise<number | null>((resolve) => {
    child.once('error', () => resolve(null))
    child.once('close', resolve)
  })
  let said = ''
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  const status = await ended
  const [, major, minor] = /^git version (\d+)\.(\d+)/.exec(said) ?? []
  if (status !== 0 || major === undefined) return false
  const [oldMajor = 0, oldMinor = 0] = OLDEST
  return Number(major) > oldMajor || (Number(major) === oldMajor && Number(minor) >= oldMinor)
}

/** The whole environment of git: the path, and where certificates of authorities are. */
function gitEnvironment(): Record<string, string> {
  const passed = ['PATH', 'SSL_CERT_FILE', 'SSL_CERT_DIR', 'GIT_SSL_CAINFO', 'GIT_SSL_CAPATH'].flatMap(
    (name) => {
      const value = process.env[name]
      return value === undefined ? [] : [[name, value] as const]
    },
  )
  return {
    ...Object.fromEntries(passed),
    LC_ALL: 'C',
    // curl would look for .netrc there, and without it in the home directory of the user.
    HOME: '/dev/null',
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_CONFIG_GLOBAL: '/dev/null',
    GIT_ATTR_NOSYSTEM: '1',
    GIT_TERMINAL_PROMPT: '0',
    GIT_ASKPASS: '',
    GIT_NO_REPLACE_OBJECTS: '1',
  }
}

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return
  try {
    process.kill(-child.pid, 'SIGKILL')
  } catch {
    child.kill('SIGKILL')
  }
}
