// A real proxy (nginx, HAProxy, Caddy or Envoy) as one process on a loopback port, in a directory of its own. This file
// knows neither what the configuration is for nor which requests come.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { eventually } from './eventually.ts'
import { freePort } from './free-port.ts'
import { isOpen } from './workers.ts'

/** A program that runs. The caller must stop it. */
export interface FrontProcess {
  /** Without a slash at the end. */
  readonly url: string
  readonly pid: number
  /** What it wrote to its error log so far. */
  log(): string
  stop(): Promise<void>
}

/** Where the configuration has to place the program. */
export interface FrontPlace {
  readonly port: number
  readonly directory: string
}

/** How each program runs in the foreground with a configuration file. */
const ARGUMENTS = {
  nginx: (file, directory) => ['-c', file, '-p', directory, '-e', 'stderr'],
  haproxy: (file) => ['-db', '-f', file],
  caddy: (file) => ['run', '--adapter', 'caddyfile', '--config', file],
  envoy: (file) => ['-c', file, '--log-level', 'warning', '--concurrency', '1', '--disable-hot-restart'],
} satisfies Record<string, (file: string, directory: string) => readonly string[]>
export type FrontProgram = keyof typeof ARGUMENTS

/**
 * Starts the program with this configuration and waits until it takes connections. Rejects with what it says. `command` is
 * the program's path if it is not found by its name.
 */
export async function startFrontProcess(
  program: FrontProgram,
  configOf: (place: FrontPlace) => string,
  command: string = program,
): Promise<FrontProcess> {
  const directory = await mkdtemp(join(tmpdir(), `hubmirror-${program}-`))
  const port = await freePort()
  // Envoy reads the format from the name. The other programs do not care.
  const file = join(directory, 'config.yaml')
  await writeFile(file, configOf({ port, directory }))
  const child = spawn(command, ARGUMENTS[program](file, directory), {
    // Caddy keeps its state below these directories.
    env: { PATH: process.env['PATH'], HOME: directory, XDG_DATA_HOME: directory, XDG_CONFIG_HOME: directory },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (words: string) => {
    said += words
  })
  const ended = once(child, 'close')
  const stop = async (): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
    await ended
    await rm(directory, { recursive: true, force: true })
  }
  try {
    await eventually(
      () => child.exitCode !== null || isOpen(port),
      (isThere) => isThere,
    )
    if (child.exitCode !== null) throw new Error(`${program} ended with ${child.exitCode}: ${said}`)
  } catch (error) {
    await stop()
    throw error
  }
  return { url: `http://127.0.0.1:${port}`, pid: child.pid ?? 0, log: () => said, stop }
}

/**
 * A whole configuration of nginx around what stands in its `http` block. nginx runs as one process: the one that is
 * killed at the end. Without a master process it keeps the user that started it.
 */
export function nginxConfig(http: string, directory: string): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (name) => `${name}_temp_path ${directory}/${name};`,
  )
  return `daemon off; master_process off; pid ${directory}/pid; events {}
http { access_log off; ${temporary.join(' ')}
${http} }`
}

/** The text with each of `what` replaced once. Throws, with the name of `source`, if the text lacks one of them. */
export function filledIn(
  source: string,
  text: string,
  replacements: readonly (readonly [what: string, by: string])[],
): string {
  return replacements.reduce((filled, [what, by]) => {
    if (!filled.includes(what)) throw new Error(`${source}: expected ${what}`)
    return filled.replace(what, by)
  }, text)
}
