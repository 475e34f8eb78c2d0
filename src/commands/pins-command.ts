// The usage of `hubmirror pins`: options and the errors of them.

import type { Command } from 'commander'
import type { Config } from '../config/keys.ts'
import type { CommandLine } from './store-commands.ts'

const EXAMPLES = `
Examples:
  hubmirror pins
  hubmirror pins --check && echo ready
  hubmirror pins --json --pins /etc/hubmirror/pins.yaml

Exit status: 0 done, 1 with --check if a pin is behind, 2 if the file of pins is
wrong.`

/** Adds the command. */
export function addPinsCommand(
  program: Command,
  {
    withSettings,
    loadChecked,
    finish,
  }: CommandLine & {
    readonly loadChecked: (flags: Readonly<Record<string, unknown>>) => Promise<{ readonly config: Config }>
  },
  version: string,
): void {
  const command = program
    .command('pins')
    .description('compare what the file of pins wants with what is stored')
    .option('--check', 'end with 1 if a pin is behind')
    .option('--json', 'print JSON')
    .addHelpText('after', EXAMPLES)
  withSettings(command, ['pins', 'cache.dir']).action(
    async (flags: { readonly check?: boolean; readonly json?: boolean }) => {
      const { config } = await loadChecked({ ...flags })
      const { pins } = config
      if (pins === undefined) {
        command.error('error: no pins are set; name a file of pins by HUBMIRROR_PINS or --pins')
        return
      }
      const { runPins } = await import('./pins.ts')
      const { check = false, json = false } = flags
      finish(await runPins({ ...config, pins }, { check, json, version }))
    },
  )
}
