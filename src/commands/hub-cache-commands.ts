// The usage of `hubmirror import` and `export`: arguments, options and the errors of both.

import { type Command, InvalidArgumentError, Option } from 'commander'
import { type CommitHash, isCommitHash, REPO_TYPES, type RepoType } from '../hub/names.ts'
import { collect, tokenOf, wantedOf } from './prefetch-command.ts'
import { parseRepo, readOrEnd } from './repo-argument.ts'
import type { CommandLine } from './store-commands.ts'

const EXPORT_EXAMPLES = `
Examples:
  hubmirror export org/model ~/.cache/huggingface/hub
  hubmirror export dataset/org/data@v1.0 /mnt/usb/hub --copy
  hubmirror export org/model ./hub --include '*.json'

A client reads it with HF_HUB_CACHE and HF_HUB_OFFLINE=1. A mirror may keep
running. Exit status: 0 the directory has all files, 1 something is missing.`

const IMPORT_EXAMPLES = `
Examples:
  hubmirror import ~/.cache/huggingface/hub
  hubmirror import ./my-model --repo org/model --revision COMMIT
  hubmirror import /mnt/usb/hub --public --whole  # for a mirror without the Hub

It works through the running mirror, or without one. The mirror asks the Hub
what a commit consists of, with the token of HF_TOKEN.
Exit status: 0 all is stored, 1 some is not.`

/** Adds both commands. */
export function addHubCacheCommands(program: Command, line: CommandLine, version: string): void {
  addImport(program, line, version)
  addExport(program, line)
}

function addImport(program: Command, { withSettings, load, finish }: CommandLine, version: string): void {
  const command = program
    .command('import')
    .description('bring files that a client has downloaded into the store')
    .argument('<path>', 'a cache directory of huggingface_hub, a folder of --local-dir, or any folder')
    .option('--repo <repo>', 'the repo of a folder; of a cache, only this one')
    .option(
      '--revision <commit>',
      'the commit of a folder, as 40 hex digits; of a cache, only this one',
      parseCommit,
    )
    .addOption(new Option('--type <type>', 'what a repo without a prefix is').choices(REPO_TYPES))
    .option('--public', 'the repos are public; for a mirror without the Hub')
    .option('--whole', 'all files of the commits are there; for a mirror without the Hub')
    .option('--dry-run', 'print what would be imported, and store no file')
    .option('--json', 'print JSON')
    .addHelpText('after', IMPORT_EXAMPLES)
  withSettings(command, ['cache.dir', 'origin']).action(async (directory: string, flags: ImportFlags) => {
    const { public: isPublic = false, whole: isWhole = false, dryRun = false, json = false } = flags
    const { repo: text, type } = flags
    const repo = readOrEnd(command, () => (text === undefined ? undefined : parseRepo(text, type)))
    const token = tokenOf(command, process.env['HF_TOKEN'])
    const config = load({ ...flags })
    const { runImport } = await import('./import.ts')
    const { revision: commit } = flags
    finish(
      await runImport(config, { directory, repo, commit, isPublic, isWhole, dryRun, json, version, token }),
    )
  })
}

interface ImportFlags {
  readonly repo?: string
  readonly revision?: CommitHash
  readonly type?: RepoType
  readonly public?: boolean
  readonly whole?: boolean
  readonly dryRun?: boolean
  readonly json?: boolean
}

function parseCommit(text: string): CommitHash {
  if (isCommitHash(text)) return text
  throw new InvalidArgumentError(
    'expected a commit of 40 hex digits; a branch moves, so it says not which files these are',
  )
}

function addExport(program: Command, { withSettings, load, finish }: CommandLine): void {
  const command = program
    .command('export')
    .description('write a stored repo into a cache directory of huggingface_hub')
    .argument('<repo[@revision]>', 'org/name, dataset/org/name, org/name@v1.0; by default of main')
    .argument('<directory>', 'the cache directory, as in HF_HUB_CACHE; it is made if it is missing')
    .addOption(new Option('--type <type>', 'what a repo without a prefix is').choices(REPO_TYPES))
    .option('--include <glob>', 'only files that match, as in hf download; may be repeated', collect)
    .option('--exclude <glob>', 'no files that match; may be repeated', collect)
    .option('--copy', 'write files in place of symbolic links, for volumes that have none')
    .option('--private', 'export a private or gated repo that a serve-stored rule names')
    .option('--json', 'print JSON')
    .addHelpText('after', EXPORT_EXAMPLES)
  withSettings(command, ['cache.dir', 'origin']).action(
    async (text: string, directory: string, flags: ExportFlags) => {
      const { type, include = [], exclude = [], copy: copies = false, json = false } = flags
      const [wanted] = wantedOf(command, [text], type)
      if (wanted === undefined) return
      const config = load({ ...flags })
      const { runExport } = await import('./export.ts')
      const { private: withPrivate = false } = flags
      finish(await runExport(config, { wanted, directory, include, exclude, copies, withPrivate, json }))
    },
  )
}

interface ExportFlags {
  readonly type?: RepoType
  readonly include?: readonly string[]
  readonly exclude?: readonly string[]
  readonly copy?: boolean
  readonly private?: boolean
  readonly json?: boolean
}
