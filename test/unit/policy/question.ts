// RequestBodies for the rules as the mirror asks them, with all facts known that a test does not leave open.

import { parseHubUrl } from '../../../src/hub/route.ts'
import type { HubFacts, PolicyCaller, Question } from '../../../src/policy/decide.ts'
import { type Subject, subjectOf } from '../../../src/policy/subject.ts'

/** The subject of a request target. */
export function subject(target: string): Subject {
  const found = subjectOf(parseHubUrl(target, '/'))
  if (found === undefined) throw new Error(`${target} is about no repo`)
  return found
}

/** An anonymous caller in the office requests the target. */
export function question(
  target: string,
  more: { readonly caller?: Partial<PolicyCaller>; readonly facts?: HubFacts } & Partial<
    Pick<Question, 'names' | 'nameKnown' | 'final'>
  > = {},
): Question {
  const about = subject(target)
  const { caller, facts, ...rest } = more
  return {
    subject: about,
    names: [about.id],
    nameKnown: true,
    final: false,
    caller: { address: '10.1.2.3', mirrorToken: undefined, ownToken: false, ...caller },
    facts: { access: 'public', licence: ['mit'], sizeBytes: 1_000, ...facts },
    ...rest,
  }
}
