// What is wrong with the settings, all of it at once, in words an operator can act on. It knows no setting.

import { MASK } from './secret.ts'

/** Where a value came from. */
export type Source = 'default' | 'file' | 'environment' | 'flag'

/** Instead of a key, where the file is no YAML: nothing else of it is read then. */
export const SYNTAX = '(syntax)'

/** One thing wrong. `value` is what may be shown of the value: never a secret. */
export interface Fault {
  readonly key: string
  readonly source: Source
  /** The spelling at the source: a flag, a variable, or file:line:column. */
  readonly where: string
  readonly value?: string
  /** What would be right. */
  readonly cure: string
}

/** A token may stand where a key belongs, and what is no YAML is quoted by its reader. */
const TOKEN = /hf_\w{8,}/g

/** Thrown by loadConfig: the message lists every fault. */
export class ConfigFaults extends Error {
  readonly faults: readonly Fault[]

  constructor(faults: readonly Fault[]) {
    super([`${headingOf(faults)}:`, ...faults.map(formatFault)].join('\n'))
    this.name = 'ConfigFaults'
    this.faults = faults
  }

  /** Each fault as it may stand in a log: short, and without what may be a token. */
  shown(): readonly Fault[] {
    return this.faults.map(shownOf)
  }
}

function shownOf(fault: Fault): Fault {
  const shown = (text: string): string => shorten(text).replace(TOKEN, MASK)
  const value = fault.value === undefined ? {} : { value: shown(fault.value) }
  return { ...fault, key: shown(fault.key), where: shown(fault.where), ...value, cure: shown(fault.cure) }
}

function headingOf(faults: readonly Fault[]): string {
  if (faults.every(({ key }) => key === SYNTAX)) return 'the settings file cannot be read as YAML'
  return faults.length === 1 ? 'one setting is wrong' : `${faults.length} settings are wrong`
}

function formatFault(fault: Fault): string {
  // JSON escapes control characters, so that neither key nor value can write lines of its own.
  const key = /\p{Cc}/u.test(fault.key) ? JSON.stringify(fault.key) : fault.key
  const value = fault.value === undefined ? '' : ` = ${JSON.stringify(shorten(fault.value))}`
  const text = `  ${key}${value} (${fault.source}${fault.where === '' ? '' : ` ${fault.where}`})\n    ${fault.cure}`
  return text.replace(TOKEN, MASK)
}

function shorten(value: string): string {
  return value.length > 200 ? `${value.slice(0, 200)}…` : value
}
