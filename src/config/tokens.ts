// The Hub tokens of the mirror's own, by name: the one called `default` is the setting `token`, the others stand in the
// file as `tokens: {team-a: {file: /run/secrets/team-a}}`. It opens no file.

import type { Fault } from './faults.ts'
import { hubTokenFault } from './parse.ts'
import { MASK } from './secret.ts'
import type { Entry } from './sources.ts'

/** The name of the token that the setting `token` gives. */
export const DEFAULT_TOKEN = 'default'

/** What other programs call their Hub token. It counts when nothing else says which is the mirror's. */
const BORROWED = ['HF_TOKEN', 'HF_API_TOKEN']

/** Whether an entry of the file is part of a named token. */
export function isNamedToken(key: string): boolean {
  return key.startsWith('tokens.')
}

/** The setting `token` as other programs spell it; what cannot be a Hub token is not taken. */
export function borrowedToken(env: Readonly<Record<string, string | undefined>>): readonly Entry[] {
  for (const where of BORROWED) {
    const text = env[where]?.trim() ?? ''
    if (hubTokenFault(text) === undefined) return [{ key: 'token', source: 'environment', where, text }]
  }
  return []
}

/** What an operator should know who gave the token by another program's variable. `entry` is what was taken. */
export function borrowedNotice(
  entry: Entry | undefined,
  env: Readonly<Record<string, string | undefined>>,
): string | undefined {
  if (entry === undefined) {
    const where = BORROWED.find((name) => (env[name]?.trim() ?? '') !== '')
    const fault = where && hubTokenFault(env[where]?.trim() ?? '')
    return fault && `${where} is not used as HUBMIRROR_TOKEN: ${fault}`
  }
  if (!BORROWED.includes(entry.where)) return undefined
  return `${entry.where} is used as HUBMIRROR_TOKEN, but only where a policy says so`
}

/** The entries of named tokens, one each. Adds to `faults` what is wrong with the others. */
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
