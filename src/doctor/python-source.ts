// The Python file that the mirror serves at /-/doctor.py: the same checks as client-checks.ts, in the same order, with the
// words of the same table. It is the same for every caller, but for the address at which it was asked for.

import { CHECKS, type Finding } from './checks.ts'
import { ASK } from './python-ask.ts'
import { HUB } from './python-hub.ts'
import { LOCAL } from './python-local.ts'
import { NETWORK } from './python-network.ts'
import { FINDINGS, SKIPPED, USUAL_REPO } from './table.ts'

/**
 * The text of the file. `endpoint` is the default of its --endpoint: the base URL of the mirror as the caller spells it. It
 * may hold anything: it becomes a string in Python.
 */
export function pythonDoctor(endpoint: string): string {
  return text.replace('"@ENDPOINT@"', () => literal(endpoint))
}

const rows: Readonly<Record<string, Finding>> = FINDINGS
const words = {
  checks: Object.keys(CHECKS),
  findings: Object.fromEntries(
    Object.entries(rows).map(([id, { check, status, message, cure }]) => [
      id,
      { check, status, message, cure },
    ]),
  ),
  skipped: SKIPPED,
}
const text = [ASK, NETWORK, HUB, LOCAL]
  .join('\n\n')
  .replace('"@TABLE@"', () => literal(JSON.stringify(words)))
  .replace('"@USUAL_REPO@"', () => literal(USUAL_REPO))

/** A string literal of JSON in ASCII, which Python reads as the same string. */
function literal(value: string): string {
  return JSON.stringify(value).replaceAll(
    /[^\x20-\x7e]/g,
    (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}
