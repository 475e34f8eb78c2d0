// The usage of `hubmirror doctor`: options and the errors of both.

import { readFileSync } from 'node:fs'
import type { Command } from 'commander'
import { parseRepo, readOrEnd } from './repo-argument.ts'
import type { CommandLine } from './store-commands.ts'

const EXAMPLES = `
Examples:
  hubmirror doctor --endpoint http://mirror:8080
  hubmirror doctor --repo org/private-model --token-file ~/token
  hubmirror doctor --endpoint https://mirror/hugging-face --json
  hubmirror doctor --server     # where the mirror runs, with its environment

Without Node: curl -s http://mirror:8080/-/doctor.py | python3 -
Exit status: 0 no check failed, 1 a check failed (cure the first one first),
2 bad usage.`

interface DoctorFlags {
  readonly endpoint?: string
  readonly token?: string
  readonly tokenFile?: string
  readonly repo?: string
  readonly file?: string
  readonly server?: boolean
  readonly json?: boolean
}

/** Adds the command. */
export function addDoctorCommand(
  program: Command,
  { load, finish }: Pick<CommandLine, 'load' | 'finish'>,
  version: string,
): void {
  const command = program
    .command('doctor')
    .description('find why a client here gets nothing from a mirror, and the cure')
    .option(
      '--endpoint <url>',
      'the mirror, or any other Hub (default: HF_ENDPOINT, else https://huggingface.co)',
    )
    .option('--token <token>', 'the token to check (default: HF_TOKEN, else the file of hf auth login)')
    .option('--token-file <file>', 'read the token from this file')
    .option('--repo <repo>', 'a repo that should be readable: org/name, datasets/org/name')
    .option('--file <path>', 'a file of that repo')
    .option('--server', 'run on the machine of the mirror: check its settings, store and way to the Hub')
    .option('--json', 'print JSON')
    .allowExcessArguments(false)
    .addHelpText('after', EXAMPLES)
  // The settings have no flags here: --token is that of a client.
  command.action(async (flags: DoctorFlags) => {
    if (flags.server === true) return finish(await runOnServer(command, flags, { load, version }))
    if (flags.token !== undefined && flags.tokenFile !== undefined)
      command.error('error: expected --token or --token-file, not both')
    const { runDoctor, readUsage } = await import('./doctor.ts')
    const usage = readOrEnd(command, () =>
      readUsage(flags, process.env, (path) => readFileSync(path, 'utf8')),
    )
    finish(await runDoctor(usage, flags.json === true))
  })
}

async function runOnServer(
  command: Command,
  flags: DoctorFlags,
  { load, version }: Pick<CommandLine, 'load'> & { readonly version: string },
): Promise<number> {
  for (const name of ['endpoint', 'token', 'tokenFile'] as const)
    if (flags[name] !== undefined)
      command.error('error: --endpoint, --token and --token-file are for the checks of a client')
  const { repo, file, json = false } = flags
  const named = readOrEnd(command, () => (repo === undefined ? undefined : parseRepo(repo)))
  const config = load({})
  const { runServerDoctor } = await import('./doctor.ts')
  return runServerDoctor(config, { repo: named, file, version, env: process.env }, json)
}
