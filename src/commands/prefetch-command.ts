// The usage of `hubmirror prefetch`: arguments, options and the errors of both.

import { type Command, InvalidArgumentError, Option } from 'commander'
import { isHeaderSafe } from '../http/headers.ts'
import { REPO_TYPES, type RepoType } from '../hub/names.ts'
import type { Wanted } from './prefetch/listing.ts'
import { parseRepo, readOrEnd } from './repo-argument.ts'
import type { CommandLine } from './store-commands.ts'

const EXAMPLES = `
Examples:
  hubmirror prefetch org/model dataset/org/data@v1.0
  hubmirror prefetch org/model --include '*.json' --exclude 'onnx/'
  hubmirror prefetch org/gated-model --dry-run     # with HF_TOKEN

The running mirror fetches, or this command without one. The token of HF_TOKEN
is used as that of a client. Exit status: 0 all is stored, 1 some is not.`

/** Adds the command. */
export function addPrefetchCommand(
  program: Command,
  { withSettings, load, finish }: CommandLine,
  version: string,
): void {
  const command = program
    .command('prefetch')
    .description('fetch repos into the store before clients ask for them')
    .argument('<repo[@revision]...>', 'org/name, dataset/org/name, org/name@v1.0; by default of main')
    .addOption(new Option('--type <type>', 'what repos without a prefix are').choices(REPO_TYPES))
    .option('--include <glob>', 'only files that match, as in hf download; may be repeated', collect)
    .option('--exclude <glob>', 'no files that match; may be repeated', collect)
    .option('--dry-run', 'print what would be fetched and what is stored, and fetch no file')
    .option('--json', 'print JSON')
    .addHelpText('after', EXAMPLES)
  withSettings(command, ['cache.dir', 'origin']).action(
    async (texts: readonly string[], flags: PrefetchFlags) => {
      const { type, include = [], exclude = [], dryRun = false, json = false } = flags
      const wanted = wantedOf(command, texts, type)
      const token = tokenOf(command, process.env['HF_TOKEN'])
      const config = load({ ...flags })
      const { runPrefetch } = await import('./prefetch.ts')
      finish(await runPrefetch(config, { wanted, include, exclude, dryRun, json, token, version }))
    },
  )
}

interface PrefetchFlags {
  readonly type?: RepoType
  readonly include?: readonly string[]
  readonly exclude?: readonly string[]
  readonly dryRun?: boolean
  readonly json?: boolean
}

/** Adds a value of an option that may be repeated. */
export function collect(text: string, before: readonly string[] | undefined): readonly string[] {
  return [...(before ?? []), text]
}

/** Reads the repos of the command line. Ends the command if one is wrong. */
export function wantedOf(
  command: Command,
  texts: readonly string[],
  type: RepoType | undefined,
): readonly Wanted[] {
  return readOrEnd(command, () =>
    texts.map((text) => {
      // No id has this character.
      const at = text.indexOf('@')
      const revision = at === -1 ? 'main' : text.slice(at + 1)
      if (revision === '') throw new InvalidArgumentError(`'${text}' names no revision after the @.`)
      return { repo: parseRepo(at === -1 ? text : text.slice(0, at), type), revision }
    }),
  )
}

/** The token without white space at its ends, as clients read it. An error never quotes it. */
export function tokenOf(command: Command, text: string | undefined): string | undefined {
  const token = text?.trim() ?? ''
  if (token === '') return undefined
  if (/\s/.test(token) || !isHeaderSafe(token))
    command.error('error: HF_TOKEN is no token: it contains white space or other characters that none has')
  return token
}
