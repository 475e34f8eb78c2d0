// The Hub tokens of the mirror's own, by name: the one called `default` is the setting `token`, the others stand in the
// file as `tokens: {team-a: {file: /run/secrets/team-a}}`. It opens no file.

import { looksLikeMirrorToken } from '../callers/mirror-token.ts'
import type { Fault } from './faults.ts'
import { isCredential } from './parse.ts'
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

/** Whether a text may be sent to the Hub as a token. */
export function isHubToken(text: string): boolean {
  return isCredential(text) && !looksLikeMirrorToken(text)
}

/** The setting `token` as other programs spell it; what cannot be a Hub token was not meant for us. */
export function borrowedToken(env: Readonly<Record<string, string | undefined>>): readonly Entry[] {
  for (const where of BORROWED) {
    const text = env[where]?.trim() ?? ''
    if (isHubToken(text)) return [{ key: 'token', source: 'environment', where, text }]
  }
  return []
}

/** What an operator should know who gave the token by another program's variable. */
export function borrowedNotice(entry: Entry | undefined): string | undefined {
  if (entry === undefined || !BORROWED.includes(entry.where)) return undefined
  return `${entry.where} is taken for HUBMIRROR_TOKEN; it is used only where a policy says so`
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
    else if (name === DEFAULT_TOKEN) fault('this is the name of the setting token; give it there')
    else if (named.has(name)) fault('expected either file or token, once')
    else if (how === 'token' && !isHubToken(entry.text)) fault('expected a Hub token', MASK)
    else named.set(name, { entry, isFile: how === 'file' })
  }
  return named
}
