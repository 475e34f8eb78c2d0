// The usage of `hubmirror config`, which prints every setting with its value and source, and of `config explain`.
// config/load.ts has already masked secrets.
import { isIP } from 'node:net'
import { type Command, InvalidArgumentError, Option } from 'commander'
import type { Config } from '../config/keys.ts'
import type { Provenance } from '../config/load.ts'
import { bytes } from '../config/parse.ts'
import { MirrorError } from '../errors.ts'
import { parseRepoId, type Repo } from '../hub/names.ts'
import { ACCESS_KINDS, type AccessKind } from '../policy/rules.ts'
import { describeSettings } from './help.ts'
import { parseRepo } from './repo-argument.ts'

/** The part of the command line that these commands use. */
interface ConfigLine {
  readonly withSettings: (command: Command, shown?: readonly string[]) => Command
  readonly load: (flags: Readonly<Record<string, unknown>>) => {
    readonly config: Config
    readonly provenance: ReadonlyMap<string, Provenance>
  }
  /** The same, and checks the files of TLS as `serve` does. */
  readonly loadChecked: (flags: Readonly<Record<string, unknown>>) => Promise<{
    readonly provenance: ReadonlyMap<string, Provenance>
  }>
}

/** Adds `config` and `config explain`. */
export function addConfigCommand(program: Command, line: ConfigLine): void {
  const { withSettings, load, loadChecked } = line
  const config = withSettings(program.command('config'))
    .description('print every setting, its value and its source, without secrets')
    .option('--describe', 'print what every setting means, its flag, variable and default')
    .option('--json', 'print JSON')
    .action(async (flags: Record<string, unknown>) => {
      if (flags['describe'] === true) {
        process.stdout.write(`${describeSettings()}\n`)
        return
      }
      const { provenance } = await loadChecked(flags)
      process.stdout.write(formatProvenance(provenance, { json: flags['json'] === true }))
    })

  withSettings(config.command('explain'), [])
    .description('print which rule in `policies` decides a request; it contacts neither the Hub nor a mirror')
    .option('--repo <repo>', 'org/name, or dataset/org/name', (text: string) => parseRepo(text))
    .option('--name <org/name>', 'the full name on the Hub, for an old short id such as gpt2', parseName)
    .option('--revision <revision>', 'a branch, tag or commit of the repo')
    .option(
      '--ref <names>',
      'for a commit: the branches and tags that point to it, separated by commas, or none',
      parseRefs,
    )
    .option('--file <path>', 'a file of the repo; without it, the request is for the repo itself')
    .option('--url <path>', 'instead of --repo: the path of a URL as a client sends it to the mirror')
    .option('--caller <address>', 'the network address of the caller', parseAddress, '127.0.0.1')
    .option('--mirror-token <name>', 'the caller sends the mirror token of this name')
    .option('--own-token', 'the caller sends a Hub token of its own')
    .addOption(new Option('--access <kind>', 'who may read the repo on the Hub').choices(ACCESS_KINDS))
    .option(
      '--licence <names>',
      'licences of the repo as the Hub names them, separated by commas, or none',
      parseLicences,
    )
    .option('--size <size>', 'the size of the file, such as 20GB', parseSize)
    .option('--json', 'print JSON')
    .action(async (_flags: unknown, command: Command) => {
      // Commander assigns options that both commands have to the outer command.
      const flags: ExplainFlags & Record<string, unknown> = command.optsWithGlobals()
      if ((flags.repo === undefined) === (flags.url === undefined))
        command.error('error: expected either --repo or --url')
      if (flags.url !== undefined && (flags.revision !== undefined || flags.file !== undefined))
        command.error('error: expected --revision and --file only with --repo; a URL already names them')
      if (flags.mirrorToken !== undefined && flags.ownToken === true)
        command.error('error: expected either --mirror-token or --own-token; a caller sends only one token')
      if (flags.name !== undefined && flags.repo?.id.includes('/') !== false)
        command.error(
          'error: expected --name only with a short --repo; for a renamed repo, run this for each of its names',
        )
      const { config } = load(flags)
      const { explain } = await import('./explain.ts')
      const { repo, name, revision, file, url, json = false } = flags
      const caller = {
        address: flags.caller,
        mirrorToken: flags.mirrorToken,
        ownToken: flags.ownToken === true,
      }
      const facts = { access: flags.access, licence: flags.licence, sizeBytes: flags.size, refs: flags.ref }
      try {
        process.stdout.write(explain(config, { repo, name, revision, file, url, caller, facts, json }))
      } catch (error) {
        if (!(error instanceof MirrorError)) throw error
        command.error(`error: ${error.message}`)
      }
    })
}

interface ExplainFlags {
  readonly ref?: readonly string[]
  readonly repo?: Repo
  readonly name?: string
  readonly revision?: string
  readonly file?: string
  readonly url?: string
  readonly caller: string
  readonly mirrorToken?: string
  readonly ownToken?: boolean
  readonly access?: AccessKind
  readonly licence?: readonly string[]
  readonly size?: number
  readonly json?: boolean
}

function parseName(text: string): string {
  const id = parseRepoId(text)
  if (id?.includes('/') !== true) throw new InvalidArgumentError('Expected org/name.')
  return id
}

function parseRefs(text: string): readonly string[] {
  const names = text.split(',').map((name) => name.trim())
  return text === 'none' ? [] : names.filter((name) => name !== '')
}

function parseAddress(text: string): string {
  if (isIP(text) === 0) throw new InvalidArgumentError('Expected an address such as 10.1.2.3.')
  return text
}

function parseLicences(text: string): readonly string[] {
  if (text.trim().toLowerCase() === 'none') return []
  const names = text.split(',').map((name) => name.trim().toLowerCase())
  if (names.includes('')) throw new InvalidArgumentError('Expected names such as apache-2.0,mit; or none.')
  return names
}

function parseSize(text: string): number {
  const parsed = bytes()(text)
  if ('fault' in parsed) throw new InvalidArgumentError(`${parsed.fault}.`)
  return parsed.value
}

/** The text that the command prints: aligned columns, or JSON for programs. */
function formatProvenance(
  provenance: ReadonlyMap<string, Provenance>,
  options: { readonly json: boolean },
): string {
  if (options.json) {
    const rows = [...provenance].map(([key, { source, where, shown }]) => [
      key,
      { value: shown, source, where },
    ])
    return `${JSON.stringify(Object.fromEntries(rows), null, 2)}\n`
  }
  const table = [...provenance].map(([key, { source, where, shown }]) => [
    key,
    shown,
    where === '' ? source : `${source} ${where}`,
  ])
  const widths = [0, 1].map((column) => Math.max(...table.map((row) => row[column]?.length ?? 0)))
  return table.map((row) => `${row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join('  ')}\n`).join('')
}
