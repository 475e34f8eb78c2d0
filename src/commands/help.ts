// The form of the help texts, which fit on a screen, and the settings in them: a line or two each. This file prints nothing itself.
import { type Command, Option } from 'commander'
import { rows } from '../config/keys.ts'
import { CONFIG_FILE, GROUPS } from '../config/setting.ts'
import { envName, fileKey, flagName } from '../config/setting-names.ts'

/** The flag of a setting. Commander does not list it. Our own help text does, if `isListed` is set. */
export class SettingOption extends Option {
  readonly isListed: boolean

  constructor(flags: string, isListed: boolean) {
    super(flags)
    this.isListed = isListed
    this.hideHelp()
  }
}

const WIDTH = 80

/** How Commander formats help: as wide as a terminal of the usual size, and commands by their names alone. */
export const HELP_FORM = {
  helpWidth: WIDTH,
  subcommandTerm: (command: Command): string => command.name(),
}

/** The help for the settings that a command uses, by their keys in the file. The settings file itself is always listed. */
export function settingsHelpOf(keys: readonly string[]): string {
  const shown = allRows().filter((row) => keys.includes(row.key) || row.key === CONFIG_FILE.key)
  const lines = [
    'Settings that this command uses, as flag, variable and [default]:',
    ...shown.flatMap(linesOf),
  ]
  return `${lines.join('\n')}\n\nAll other settings are accepted as well; see hubmirror config --describe`
}

/** All settings with flag, variable, default and meaning, for 80 columns. */
export function describeSettings(): string {
  const all = allRows()
  const sections = GROUPS.map((group) => {
    const lines = all.filter((row) => row.group === group).flatMap(linesOf)
    return [`${group}:`, ...lines].join('\n')
  })
  return [SPELLINGS, ...sections].join('\n\n')
}

function allRows() {
  return [...rows(), { ...CONFIG_FILE, secret: undefined, default: undefined }]
}

function linesOf(row: ReturnType<typeof allRows>[number]): readonly string[] {
  const names = [`${flagName(row.key)} <${row.form}>`, envName(row.key)]
  if (row.secret === true) names.push(`${flagName(fileKey(row.key))} <file>`, envName(fileKey(row.key)))
  const value = row.default ?? row.absent ?? ''
  const [first = '', ...more] = filled(
    [...names.map((name, index) => (names[index + 1] === undefined ? name : `${name},`)), `[${value}]`],
    WIDTH - 4,
  )
  return [
    `  ${first}`,
    ...more.map((line) => `    ${line}`),
    ...filled(row.meaning.replaceAll('`', '').split(' '), WIDTH - 6).map((line) => `      ${line}`),
  ]
}

const SPELLINGS = `Settings, as flag, variable and [default]. A flag overrides a variable, a
variable overrides the file, and the file overrides the default. In the file
(YAML), HUBMIRROR_CACHE_MAX_SIZE is cache: {maxSize: 200GB}. Sizes and times
need units: 200GB, 1GiB, 90s, 5m. An empty value counts as not given; "none"
undoes what a weaker source has set. Only the file can contain policies, the
rules about who may fetch what: see docs/policies.md and config explain.`

/** The help about settings for commands that use all of them. */
export const SETTINGS_HELP = `${SPELLINGS}

hubmirror config --describe lists all of them, and config their values.`

/** The words as lines of at most `width` characters, unless one word is longer. */
function filled(words: readonly string[], width: number): readonly string[] {
  const lines: string[] = []
  for (const word of words) {
    const last = lines.at(-1)
    if (last !== undefined && last.length + word.length + 1 <= width)
      lines[lines.length - 1] = `${last} ${word}`
    else lines.push(word)
  }
  return lines
}
