// The usage of `hubmirror bundle`: arguments, options and the errors of both.

import type { Command } from 'commander'
import { Option } from 'commander'
import { bytes } from '../config/parse.ts'
import { REPO_TYPES, type RepoType } from '../hub/names.ts'
import { collect, wantedOf } from './prefetch-command.ts'
import { type CommandLine, parserOf } from './store-commands.ts'

const EXAMPLES = `
Examples:
  hubmirror bundle create models.tar org/model dataset/org/data@v1.0
  hubmirror bundle verify models.tar
  hubmirror bundle load models.tar

create reads the store of this mirror, and load fills that of the mirror on the
other side (docs/air-gap.md).`

const CREATE_EXAMPLES = `
Examples:
  hubmirror bundle create models.tar org/model dataset/org/data@v1.0
  hubmirror bundle create update.tar org/model --since models.tar --split 4GB
  hubmirror bundle create - org/model | ssh host 'cat > models.tar'

Nothing is fetched: hubmirror prefetch does that before.`

const VERIFY_EXAMPLES = `
Examples:
  hubmirror bundle verify models.tar
  hubmirror bundle verify models.tar.001     # the other parts are beside it
  ssh host cat models.tar | hubmirror bundle verify -

Exit status: 0 the bundle is whole, 1 it is damaged or something is missing.`

const LOAD_EXAMPLES = `
Examples:
  hubmirror bundle load models.tar
  hubmirror bundle load /media/disk/update.tar.001   # the other parts are there
  ssh host cat models.tar | hubmirror bundle load -

It works through the running mirror, or without one. A load that was interrupted
goes on when it is run again.`

/** Adds the commands. */
export function addBundleCommand(program: Command, line: CommandLine, version: string): void {
  const { withSettings, load, finish } = line
  const group = program
    .command('bundle')
    .description('carry repos to a mirror without a network, in one file')
    .addHelpText('after', EXAMPLES)
  addCreate(group, line)
  group
    .command('verify')
    .description('compare all of a bundle with its manifest; needs no store')
    .argument('<file>', 'the bundle, its first part, or - for stdin')
    .addHelpText('after', VERIFY_EXAMPLES)
    .action(async (file: string) => {
      const { runBundleVerify } = await import('./bundle.ts')
      finish(await runBundleVerify(file))
    })
  withSettings(group.command('load'), ['cache.dir', 'origin'])
    .description('bring a bundle into the store')
    .argument('<file>', 'the bundle, its first part, or - for stdin')
    .addHelpText('after', LOAD_EXAMPLES)
    .action(async (file: string, flags: Record<string, unknown>) => {
      const config = load({ ...flags })
      const { runBundleLoad } = await import('./bundle.ts')
      finish(await runBundleLoad(config, { file, version }))
    })
}

interface CreateFlags {
  readonly type?: RepoType
  readonly include?: readonly string[]
  readonly exclude?: readonly string[]
  readonly split?: number
  readonly since?: string
  readonly private?: boolean
}

function addCreate(group: Command, { withSettings, load, finish }: CommandLine): void {
  const command = group
    .command('create')
    .description('write what is stored of repos into a file')
    .argument('<file>', 'the bundle to write, or - for stdout')
    .argument('<repo[@revision]...>', 'org/name, dataset/org/name, org/name@v1.0; by default of main')
    .addOption(new Option('--type <type>', 'what repos without a prefix are').choices(REPO_TYPES))
    .option('--include <glob>', 'only files that match, as in hf download; may be repeated', collect)
    .option('--exclude <glob>', 'no files that match; may be repeated', collect)
    .option('--since <file>', 'leave out the files of this earlier bundle, or of its manifest')
    .option(
      '--split <size>',
      'write parts of this size: FILE.001, FILE.002 ...',
      parserOf(bytes({ min: 1_000_000 })),
    )
    .option('--private', 'include private and gated repos that a serve-stored rule names')
    .addHelpText('after', CREATE_EXAMPLES)
  withSettings(command, ['cache.dir', 'origin']).action(
    async (file: string, texts: readonly string[], flags: CreateFlags) => {
      const {
        type,
        include = [],
        exclude = [],
        split: splitBytes,
        since,
        private: withPrivate = false,
      } = flags
      if (file === '-' && splitBytes !== undefined) command.error('error: parts cannot be written to stdout')
      const wanted = wantedOf(command, texts, type)
      const config = load({ ...flags })
      const { runBundleCreate } = await import('./bundle.ts')
      finish(
        await runBundleCreate(config, { file, wanted, include, exclude, splitBytes, since, withPrivate }),
      )
    },
  )
}
