// `hubmirror doctor`: the checks of a client, or of the mirror's own machine, printed as lines or as JSON.

import { InvalidArgumentError } from 'commander'
import type { Config } from '../config/keys.ts'
import { type ClientOptions, checkClient } from '../doctor/client-checks.ts'
import { type Env, findToken } from '../doctor/local-checks.ts'
import type { Line } from '../doctor/report.ts'
import { checkServerSide, type ServerOptions } from './doctor-server.ts'
import { parseRepo } from './repo-argument.ts'

interface Flags {
  readonly endpoint?: string
  readonly token?: string
  readonly tokenFile?: string
  readonly repo?: string
  readonly file?: string
}

/** What is to be checked. Throws InvalidArgumentError, which never quotes a token. */
export function readUsage(flags: Flags, env: Env, readFile: (path: string) => string): ClientOptions {
  const repo = flags.repo === undefined ? undefined : parseRepo(flags.repo)
  return {
    endpoint: endpointOf(flags.endpoint ?? env['HF_ENDPOINT']),
    token: tokenOf(flags, env, readFile),
    kind: `${repo?.type ?? 'model'}s`,
    repo: repo?.id,
    file: flags.file,
    env,
  }
}

function endpointOf(text: string | undefined): URL {
  const named = text === undefined || text.trim() === '' ? 'https://huggingface.co' : text.trim()
  const url = URL.canParse(named) ? new URL(named) : undefined
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.username !== '' || url.password !== '')
    throw new InvalidArgumentError('the endpoint must be an address such as http://mirror:8080.')
  url.search = ''
  url.hash = ''
  return url
}

function tokenOf(flags: Flags, env: Env, readFile: (path: string) => string): ClientOptions['token'] {
  if (flags.token !== undefined) return { token: flags.token.trim(), source: '--token' }
  if (flags.tokenFile === undefined) return findToken(env)
  try {
    return { token: readFile(flags.tokenFile).trim(), source: flags.tokenFile }
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unreadable'
    throw new InvalidArgumentError(`the file of the token cannot be read (${code}).`)
  }
}

/** Runs the checks of a client and prints them. Resolves with 0, or with 1 if a check failed. */
export async function runDoctor(options: ClientOptions, asJson: boolean): Promise<number> {
  return report(await checkClient(options), asJson)
}

/** The same for the checks of the machine where the mirror runs. */
export async function runServerDoctor(
  config: Config,
  options: ServerOptions,
  asJson: boolean,
): Promise<number> {
  return report(await checkServerSide(config, options), asJson)
}

function report(checks: readonly Line[], asJson: boolean): number {
  const ok = checks.every(({ status }) => status !== 'fail')
  process.stdout.write(asJson ? `${JSON.stringify({ ok, checks }, undefined, 2)}\n` : textOf(checks))
  return ok ? 0 : 1
}

/** One line for each check, the cure beneath, and at last what to cure first. */
function textOf(checks: readonly Line[]): string {
  const lines = checks.map(({ id, status, message, cure }) => {
    const line = `${status.padEnd(4)}  ${id.padEnd(15)}  ${message}`
    return cure === '' ? line : `${line}\n      ${' '.repeat(15)}  Cure: ${cure}`
  })
  const first = checks.find(({ status }) => status === 'fail')
  const end = first === undefined ? 'No check failed.' : `Cure this first: ${first.id}.`
  return `${lines.join('\n')}\n\n${end}\n`
}
