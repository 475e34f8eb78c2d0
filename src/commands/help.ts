// The settings in the help text: two lines each, under the heading of their group. This file prints nothing itself.
import { Option } from 'commander'
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

/** The help for the settings that a command uses, by their keys in the file. The settings file itself is always listed. */
export function settingsHelpOf(keys: readonly string[]): string {
  const shown = allRows().filter((row) => keys.includes(row.key) || row.key === CONFIG_FILE.key)
  const lines = [
    'Settings that this command uses, as flag, variable and [default]:',
    ...shown.flatMap(linesOf),
  ]
  return `${lines.join('\n')}\n\nAll other settings are accepted as well; see hubmirror serve --help`
}

/** The help for all settings with flag, variable, default and meaning, for at least 80 columns. */
export function settingsHelp(): string {
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
  return [`  ${names.join(', ')} [${value}]`, ...wrap(row.meaning.replaceAll('`', ''), 74, '      ')]
}

const SPELLINGS = `Settings, as flag, variable and [default]. A flag overrides a variable, a variable overrides
the file, and the file overrides the default. In the file (YAML), HUBMIRROR_CACHE_MAX_SIZE is
cache: {maxSize: 200GB}. Sizes and times need units: 200GB, 1GiB, 90s, 5m. An empty value
counts as not given; "none" undoes what a weaker source has set. Only the file can contain
policies, the rules about who may fetch what: see docs/policies.md and config explain.`

function wrap(text: string, width: number, indent: string): readonly string[] {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + word.length + 1 > width) {
      lines.push(indent + line)
      line = ''
    }
    line = line === '' ? word : `${line} ${word}`
  }
  return [...lines, indent + line]
}
