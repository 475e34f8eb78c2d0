// The words of the doctor. The command, the Python file that the mirror serves and docs/troubleshooting.md use this
// table, so that all three say the same. It decides nothing: see client-checks.ts.

import { ACCESS } from './findings-access.ts'
import { CONTENT } from './findings-content.ts'

/** What each check can find. */
export const FINDINGS = { ...ACCESS, ...CONTENT } as const
export type FindingId = keyof typeof FINDINGS

/** A public repo that every Hub has: tried if no repo is named. */
export const USUAL_REPO = 'openai-community/gpt2'

/** What a check that could not run says. */
export const SKIPPED = {
  before: 'Not checked: {check} comes first.',
  token: 'Not checked: there is no token.',
  repo: 'Not checked: no file of a repo can be read. Give one with --repo.',
  away: 'Not checked: the Hub does not answer now.',
  none: 'Not checked: the endpoint gave nothing to check it with.',
} as const

/** The text with each name in braces replaced. What was seen comes from outside: it is cut, and keeps to one line. */
export function fill(text: string, values: Readonly<Record<string, string | number>>): string {
  return text.replaceAll(/\{(\w+)\}/g, (whole, name: string) => {
    const value = values[name]
    return value === undefined
      ? whole
      : String(value)
          .replaceAll(/[^\x20-\x7e]+/g, ' ')
          .slice(0, 300)
  })
}
