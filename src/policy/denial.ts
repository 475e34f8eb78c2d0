// The message for a caller whose request a rule denies. This file knows no header: the sender makes the text safe for one.

import type { Ruling } from './decide.ts'
import { ANY, type Subject } from './subject.ts'

/** The message of a rule that has none of its own. */
export const DENIED = 'The rules of this mirror do not allow this.'

/** The message of the rule that denied, the reason if it denied in doubt, and the name of the rule. */
export function denialText({ rule, doubt }: Ruling, subject: Subject): string {
  const words = [rule?.message ?? DENIED, ...doubtText(doubt, subject)]
  if (rule !== undefined) words.push(`(policy ${rule.name} of this mirror)`)
  return words.join(' ')
}

function doubtText(doubt: Ruling['doubt'], subject: Subject): readonly string[] {
  if (doubt.length === 0) return []
  const carriesAny =
    (doubt.includes('file') && subject.path === ANY) ||
    (doubt.includes('revision') && subject.revision === ANY) ||
    (doubt.includes('size') && subject.size === ANY)
  if (carriesAny)
    return ['This request can include any file. Fetch single files instead, as hf download does.']
  if (doubt.includes('network'))
    return [
      'The mirror cannot determine the network of this request, so this rule applies. Ask the operator of the mirror.',
    ]
  return [
    `The mirror cannot currently learn from the Hub whether this rule applies (${doubt.join(', ')}), so it does.`,
  ]
}
