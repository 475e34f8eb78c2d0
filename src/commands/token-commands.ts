// The usage of `hubmirror token`: arguments, options and the errors of both.

import { Argument, type Command, InvalidArgumentError } from 'commander'
import { isTokenName, TOKEN_NAME_RULE } from '../callers/token-list.ts'
import { duration } from '../config/parse.ts'
import { faultOfRepoPattern } from '../hub/repo-pattern.ts'
import { type CommandLine, parserOf } from './store-commands.ts'

const DAY_MS = 24 * 3_600_000
const LONGEST_MS = 3650 * DAY_MS

/** Adds `token create`, `token ls` and `token revoke`. */
export function addTokenCommands(program: Command, { withSettings, load, finish }: CommandLine): void {
  const token = program
    .command('token')
    .description('issue, list and revoke mirror tokens; a mirror may keep running')
  withSettings(token.command('create'), ['mirrorTokens', 'cache.dir', 'auditLog'])
    .description('issue a token, and print it once')
    .addArgument(nameArgument())
    .option(
      '--expires <time>',
      'how long the token is valid, such as 90d; without it, until it is revoked',
      parserOf(duration({ minMs: 1_000, maxMs: LONGEST_MS })),
    )
    .option(
      '--repo <pattern>',
      "limit the token to these repos: 'acme/*', 'datasets/acme/*'; may be repeated",
      collectRepo,
    )
    .option('--json', 'print JSON')
    .action(async (name: string, flags: CreateFlags) => {
      const config = load({ ...flags })
      const { runTokenCreate } = await import('./token.ts')
      const { expires: expiresMs, repo: repos, json = false } = flags
      finish(await runTokenCreate(config, { name, expiresMs, repos, json }))
    })
  withSettings(token.command('ls'), ['mirrorTokens', 'cache.dir'])
    .description('list issued tokens')
    .option('--json', 'print JSON')
    .action(async (flags: { readonly json?: boolean }) => {
      const config = load({ ...flags })
      const { runTokenLs } = await import('./token.ts')
      finish(await runTokenLs(config, { json: flags.json ?? false }))
    })
  withSettings(token.command('revoke'), ['mirrorTokens', 'cache.dir', 'auditLog'])
    .description('revoke a token; a running mirror refuses it within a second')
    .addArgument(nameArgument())
    .action(async (name: string, flags: Readonly<Record<string, unknown>>) => {
      const config = load({ ...flags })
      const { runTokenRevoke } = await import('./token.ts')
      finish(await runTokenRevoke(config, { name }))
    })
}

interface CreateFlags {
  readonly expires?: number
  readonly repo?: readonly string[]
  readonly json?: boolean
}

function nameArgument(): Argument {
  return new Argument('<name>', 'who or what the token is for').argParser((text: string) => {
    if (isTokenName(text)) return text
    throw new InvalidArgumentError(TOKEN_NAME_RULE)
  })
}

function collectRepo(text: string, before: readonly string[] | undefined): readonly string[] {
  const fault = faultOfRepoPattern(text)
  if (fault !== undefined) throw new InvalidArgumentError(fault)
  return [...(before ?? []), text]
}
