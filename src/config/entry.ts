// One value of a setting as a source gives it, before it is parsed.

import type { Source } from './faults.ts'

export interface Entry {
  readonly key: string
  readonly source: Source
  /** A flag, a variable, or file:line:column; empty for a default. */
  readonly where: string
  readonly text: string
}
