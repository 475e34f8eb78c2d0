// The mirror's own Hub tokens, by name. The token named `default` is the setting `token`. The others are in the settings
// file, as `tokens: {team-a: {file: /run/secrets/team-a}}`. This file opens no other file.

import type { Entry } from './entry.ts'
import type { Fault } from './faults.ts'
import { hubTokenFault } from './parse.ts'
import { MASK } from './secret.ts'

/** The name of the token that the setting `token` gives. */
export const DEFAULT_TOKEN = 'default'

/** Variables in which other programs expect their Hub token. The mirror uses them if no source sets its own token. */
const FALLBACK_VARIABLES = ['HF_TOKEN', 'HF_API_TOKEN']

/** Whether an entry of the settings file belongs to a named token. */
export function isNamedToken(key: string): boolean {
  return key.startsWith('tokens.')
}

/** The entry for the setting `token` from the variables of other programs. A text that cannot be a Hub token is skipped. */
export function fallbackToken(env: Readonly<Record<string, string | undefined>>): readonly Entry[] {
  for (const where of FALLBACK_VARIABLES) {
    const text = env[where]?.trim() ?? ''
    if (hubTokenFault(text) === undefined) return [{ key: 'token', source: 'environment', where, text }]
  }
  return []
}

/**
 * A notice for the log if the token comes from the variable of another program, or if such a variable is set and not
 * usable. `entry` is the entry that counts for the setting `token`.
 */
export function fallbackNotice(
  entry: Entry | undefined,
  env: Readonly<Record<string, string | undefined>>,
): string | undefined {
  if (entry === undefined) {
    const where = FALLBACK_VARIABLES.find((name) => (env[name]?.trim() ?? '') !== '')
    const fault = where && hubTokenFault(env[where]?.trim() ?? '')
    return fault && `${where} is not used as HUBMIRROR_TOKEN: ${fault}`
  }
  if (!FALLBACK_VARIABLES.includes(entry.where)) return undefined
  return `${entry.where} is used as HUBMIRROR_TOKEN, but only where a policy says so`
}

/** The entries of named tokens, one per name. Adds to `faults` every entry that is wrong. */
export function namedTokens(
  entries: readonly Entry[],
  faults: Fault[],
): ReadonlyMap<string, { readonly entry: Entry; readonly isFile: boolean }> {
  const named = new Map<string, { readonly entry: Entry; readonly isFile: boolean }>()
  for (const entry of entries) {
    if (!isNamedToken(entry.key)) continue
    const fault = (cure: string, value?: string): void => {
      const { key, source, where } = entry
      faults.push({ key, source, where, cure, ...(value === undefined ? {} : { value }) })
    }
    // 'tokens.team-a.file' matches; 'tokens.team-a', 'tokens.Team.file' and 'tokens.a.b.file' do not.
    const [, name, how] = /^tokens\.([a-z0-9][a-z0-9_-]{0,63})\.(file|token)$/.exec(entry.key) ?? []
    if (name === undefined)
      fault('expected tokens: {name: {file: path}}; names are lower-case letters, digits, - and _')
    else if (name === DEFAULT_TOKEN) fault('this name belongs to the setting token; set it there')
    else if (named.has(name)) fault('expected either file or token, once')
    else {
      const wrong = how === 'token' ? hubTokenFault(entry.text) : undefined
      if (wrong === undefined) named.set(name, { entry, isFile: how === 'file' })
      else fault(`expected a Hub token; ${wrong}`, MASK)
    }
  }
  return named
}
