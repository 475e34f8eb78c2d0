// What a row of the table of settings says, the headings of the table, and the one setting beside it.

import type { Parser } from './parse.ts'

/** Headings under which the help and the documentation list the settings, in this order. */
export const GROUPS = ['Listening', 'Origin', 'Cache', 'Access and protocol', 'Operation'] as const

/** One setting. */
export interface Setting {
  /** The name in the settings file. The names of the flag and the variable are derived from it. */
  readonly key: string
  readonly group: (typeof GROUPS)[number]
  /** The placeholder for the value in usage texts. */
  readonly form: string
  /** One line, for the help and the documentation. */
  readonly meaning: string
  readonly parse: Parser<unknown>
  /** The value if no source gives one, spelled as a user would spell it. */
  readonly default?: string
  /** For a setting without a default: what a missing value means. */
  readonly absent?: string
  /** The value is a secret: it is never shown, and it may come from a file of its own. */
  readonly secret?: true
  /** The setting may change while the mirror runs, and is read through `Live`. All other settings need a restart. */
  readonly live?: true
}

/** The setting that names the settings file. It is not part of Config, because the file cannot contain it. */
export const CONFIG_FILE = {
  key: 'config',
  group: 'Operation',
  form: 'file',
  meaning: 'YAML file with settings',
  absent: 'none',
} as const
