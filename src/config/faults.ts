// The error that lists all faults of the settings at once, in words that an operator can act on. It knows no setting.

import { MASK } from './secret.ts'

/** Where a value came from. */
export type Source = 'default' | 'file' | 'environment' | 'flag'

/** The key of a fault in a file that is not valid YAML. Nothing else of such a file is read. */
export const SYNTAX = '(syntax)'

/** One fault. `value` is the value as it may be shown: never a secret. */
export interface Fault {
  readonly key: string
  readonly source: Source
  /** The spelling at the source: a flag, a variable, or file:line:column. */
  readonly where: string
  readonly value?: string
  /** What was expected, or how to correct it. */
  readonly cure: string
}

/** A Hub token. It may stand in place of a key, and the YAML parser quotes invalid text in its errors. */
const TOKEN = /hf_\w{8,}/g

/** Thrown by loadConfig: the message lists every fault. */
export class ConfigFaults extends Error {
  readonly faults: readonly Fault[]

  constructor(faults: readonly Fault[]) {
    super([`${headingOf(faults)}:`, ...faults.map(formatFault)].join('\n'))
    this.name = 'ConfigFaults'
    this.faults = faults
  }

  /** Each fault in a form for the log: short, and with everything masked that may be a token. */
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
  // JSON escapes control characters, so that neither key nor value can add lines to the message.
  const key = /\p{Cc}/u.test(fault.key) ? JSON.stringify(fault.key) : fault.key
  const value = fault.value === undefined ? '' : ` = ${JSON.stringify(shorten(fault.value))}`
  const text = `  ${key}${value} (${fault.source}${fault.where === '' ? '' : ` ${fault.where}`})\n    ${fault.cure}`
  return text.replace(TOKEN, MASK)
}

function shorten(value: string): string {
  return value.length > 200 ? `${value.slice(0, 200)}…` : value
}
