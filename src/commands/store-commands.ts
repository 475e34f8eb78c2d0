// The usage of ls, prune and verify: arguments, options and the errors of both. The commands themselves are loaded on
// demand, so that `help` and `config` start without the modules of the store.

import { type Command, InvalidArgumentError, Option } from 'commander'
import type { Config } from '../config/keys.ts'
import { bytes, duration, type Parser } from '../config/parse.ts'
import type { Sort } from './ls.ts'

/** The part of the command line that commands use: flags of settings, the settings themselves, and the exit status. */
export interface CommandLine {
  /** Adds the flags of all settings. `shown` are the keys of the settings that the help lists; without it, all of them. */
  readonly withSettings: (command: Command, shown?: readonly string[]) => Command
  readonly load: (flags: Readonly<Record<string, unknown>>) => Config
  readonly finish: (status: number) => void
}

const SORTS = ['size', 'used', 'name'] as const satisfies readonly Sort[]

const LONGEST_AGE_MS = 3650 * 24 * 3_600_000

/** Adds the three commands. */
export function addStoreCommands(program: Command, line: CommandLine): void {
  addLs(program, line)
  addPrune(program, line)
  addVerify(program, line)
}

function addLs(program: Command, { withSettings, load, finish }: CommandLine): void {
  withSettings(program.command('ls'), ['cache.dir'])
    .description('list what is stored, by repo')
    .argument('[pattern]', "only these repos: org/name, dataset/org/name, 'models/org/*'")
    .option('--files <repo>', 'list the files of this repo instead')
    .addOption(new Option('--sort <order>', 'the order').choices(SORTS).default('size'))
    .option('--limit <number>', 'print at most this many', parseCount)
    .option('-q, --quiet', 'print only names, one per line')
    .option('--json', 'print JSON')
    .action(async (pattern: string | undefined, flags: LsFlags, command: Command) => {
      if (pattern !== undefined && flags.files !== undefined)
        command.error('error: expected a pattern or --files, not both')
      const config = load({ ...flags })
      const { runLs } = await import('./ls.ts')
      const { files, sort, limit, json = false, quiet = false } = flags
      finish(await runLs(config, { pattern, files, sort, limit, json, quiet }))
    })
}

interface LsFlags {
  readonly files?: string
  readonly sort: Sort
  readonly limit?: number
  readonly quiet?: boolean
  readonly json?: boolean
}

function addPrune(program: Command, { withSettings, load, finish }: CommandLine): void {
  withSettings(program.command('prune'), ['cache.dir', 'pins', 'auditLog'])
    .description('remove stored content by repo, age or size')
    .argument('[repo...]', "these repos: org/name, dataset/org/name, 'models/org/*'")
    .option(
      '--older-than <time>',
      'content that was not used for this long',
      parserOf(duration({ maxMs: LONGEST_AGE_MS })),
    )
    .option(
      '--max-size <size>',
      'the least recently used content, until the store has at most this size',
      parserOf(bytes()),
    )
    .option('--unclaimed', 'content that no repo refers to any more')
    .option('--pinned', 'also content that the file of pins wants; a mirror with that file fetches it again')
    .option('--dry-run', 'print what would be removed, and remove nothing')
    .option('--json', 'print JSON')
    .action(async (repos: readonly string[], flags: PruneFlags, command: Command) => {
      const {
        olderThan: olderThanMs,
        maxSize: maxBytes,
        unclaimed = false,
        pinned = false,
        dryRun = false,
        json = false,
      } = flags
      if (repos.length === 0 && olderThanMs === undefined && maxBytes === undefined && !unclaimed)
        command.error('error: expected a repo, --older-than, --max-size or --unclaimed')
      const config = load({ ...flags })
      const { runPrune } = await import('./prune.ts')
      finish(await runPrune(config, { repos, olderThanMs, maxBytes, unclaimed, pinned, dryRun, json }))
    })
}

interface PruneFlags {
  readonly olderThan?: number
  readonly maxSize?: number
  readonly unclaimed?: boolean
  readonly pinned?: boolean
  readonly dryRun?: boolean
  readonly json?: boolean
}

function addVerify(program: Command, { withSettings, load, finish }: CommandLine): void {
  withSettings(program.command('verify'), ['cache.dir', 'auditLog'])
    .description('verify the digest of every stored blob')
    .option('--rate <size>', 'read at most this much per second', parserOf(bytes({ min: 1000 })))
    .option('--restart', 'start from the beginning instead of where an earlier run was interrupted')
    .option('--json', 'print JSON')
    .action(async (flags: VerifyFlags) => {
      const config = load({ ...flags })
      const { runVerify } = await import('./verify.ts')
      const { rate: rateBytesPerSecond, restart = false, json = false } = flags
      finish(await runVerify(config, { rateBytesPerSecond, restart, json }))
    })
}

interface VerifyFlags {
  readonly rate?: number
  readonly restart?: boolean
  readonly json?: boolean
}

/** A parser of an option with the same fault texts as those of settings. Commander adds the name of the option. */
export function parserOf<T>(parse: Parser<T>): (text: string) => T {
  return (text) => {
    const parsed = parse(text.trim())
    if ('value' in parsed) return parsed.value
    throw new InvalidArgumentError(parsed.fault)
  }
}

function parseCount(text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text)
  throw new InvalidArgumentError('expected a whole number from 1')
}
