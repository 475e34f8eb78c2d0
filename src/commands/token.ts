// `hubmirror token`: changes or prints the list of issued tokens. A token itself is printed once, when it is created, and is
// stored nowhere.

import { createMirrorToken } from '../callers/mirror-token.ts'
import { changeTokenFile, mirrorTokensPath, readTokenFile } from '../callers/token-file.ts'
import { type IssuedToken, tokenHash, tokenState } from '../callers/token-list.ts'
import type { Config } from '../config/keys.ts'
import { diskMessage } from '../disk-errors.ts'
import { mirrorUser, type User } from '../store/replace.ts'
import { type ActLog, openActLog } from './audit.ts'
import { formatAge, formatColumns, formatInstant } from './store-output.ts'

type TokenConfig = Pick<Config, 'mirrorTokens' | 'cacheDir' | 'auditLog'>

/** Issues a token. The name of an expired or revoked token may be used again. Resolves with the exit status. */
export function runTokenCreate(
  config: TokenConfig,
  options: {
    readonly name: string
    readonly expiresMs: number | undefined
    readonly repos: readonly string[] | undefined
    readonly json: boolean
  },
): Promise<number> {
  const { name, expiresMs, repos, json } = options
  const now = Date.now()
  const expiresAt = expiresMs === undefined ? undefined : now + expiresMs
  const token = createMirrorToken()
  return changing(config, async (path, log, reader) => {
    const change = (list: readonly IssuedToken[]): readonly IssuedToken[] => {
      const holder = list.find((entry) => entry.name === name)
      if (holder !== undefined && tokenState(holder, now) === 'good')
        throw new Error(`a token named ${name} exists; revoke it first, or choose another name`)
      const others = list.filter((entry) => entry !== holder)
      log.act('token-create', { name, expiresAt: formatInstant(expiresAt), repos: repos ?? null })
      return [...others, { name, sha256: tokenHash(token), createdAt: now, expiresAt, repos }]
    }
    // The list is changed first, so that a token is never printed that is not in the list.
    await changeTokenFile(path, change, { reader, now })
    if (json) {
      print(
        `${JSON.stringify({ name, token, expiresAt: formatInstant(expiresAt), repos: repos ?? null }, null, 2)}\n`,
      )
      return
    }
    // stdout gets only the token, so that a script can read it.
    print(`${token}\n`)
    const until =
      expiresAt === undefined ? 'it is valid until it is revoked' : `it expires on ${day(expiresAt)}`
    process.stderr.write(`${name}: ${until}. It is shown only once; set it as HF_TOKEN.\n`)
  })
}

/** Prints the list, without tokens and hashes. Resolves with the exit status. */
export function runTokenLs(config: TokenConfig, options: { readonly json: boolean }): Promise<number> {
  const now = Date.now()
  return overList(config, async (path) => {
    const list = await readTokenFile(path)
    if (options.json) {
      print(
        `${JSON.stringify(
          list.map((entry) => describe(entry, now)),
          null,
          2,
        )}\n`,
      )
      return
    }
    const rows = list.map((entry) => [
      entry.name,
      tokenState(entry, now),
      formatAge(entry.createdAt, now),
      entry.expiresAt === undefined ? 'never' : day(entry.expiresAt),
      entry.repos === undefined ? 'all' : entry.repos.join(' '),
    ])
    print(formatColumns([['NAME', 'STATE', 'CREATED', 'EXPIRES', 'REPOS'], ...rows], []))
  })
}

/** Revokes a token. A token that is already revoked keeps its time of revocation. Resolves with the exit status. */
export function runTokenRevoke(config: TokenConfig, options: { readonly name: string }): Promise<number> {
  const { name } = options
  const now = Date.now()
  return changing(config, async (path, log, reader) => {
    const change = (list: readonly IssuedToken[]): readonly IssuedToken[] => {
      if (!list.some((entry) => entry.name === name)) throw new Error(`there is no token named ${name}`)
      log.act('token-revoke', { name })
      return list.map((entry) =>
        entry.name === name ? { ...entry, revokedAt: entry.revokedAt ?? now } : entry,
      )
    }
    await changeTokenFile(path, change, { reader, now })
    print(`revoked ${name}\n`)
  })
}

function describe(entry: IssuedToken, now: number): Readonly<Record<string, unknown>> {
  return {
    name: entry.name,
    state: tokenState(entry, now),
    createdAt: formatInstant(entry.createdAt),
    expiresAt: formatInstant(entry.expiresAt),
    revokedAt: formatInstant(entry.revokedAt),
    repos: entry.repos ?? null,
  }
}

/** Runs a command on the list. Any error is reported as a sentence, with status 1. */
async function overList(config: TokenConfig, run: (path: string) => Promise<void> | void): Promise<number> {
  const path = mirrorTokensPath(config)
  try {
    await run(path)
    return 0
  } catch (error) {
    process.stderr.write(`hubmirror: ${diskMessage(path, error)}\n`)
    return 1
  }
}

/** Like `overList`, with an open audit log. The audit line is written before the list, so every change is recorded. */
function changing(
  config: TokenConfig,
  run: (path: string, log: ActLog, reader: User | undefined) => Promise<void>,
): Promise<number> {
  return overList(config, async (path) => {
    const log = await openActLog(config)
    try {
      await run(path, log, await mirrorUser(config.cacheDir))
    } finally {
      log.close()
    }
  })
}

function day(at: number): string {
  return new Date(at).toISOString().slice(0, 10)
}

function print(text: string): void {
  process.stdout.write(text)
}
