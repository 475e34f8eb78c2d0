// The rules of a policy as values: the conditions and the action of each. config/policies.ts makes them from the settings
// file, and decide.ts evaluates them. This file knows neither the settings file nor the mirror.

import { REPO_TYPES } from '../hub/names.ts'
import type { Networks, Pattern } from './patterns.ts'

export const ACTIONS = ['allow', 'deny', 'no-store', 'use-token', 'serve-stored'] as const
export type Action = (typeof ACTIONS)[number]

/** The types of repos in rules. Buckets have no revisions and are never stored, but access to their bytes can be denied. */
export const SUBJECT_TYPES = [...REPO_TYPES, 'bucket'] as const
export type SubjectType = (typeof SUBJECT_TYPES)[number]

export const ACCESS_KINDS = ['public', 'gated', 'private'] as const
/** Who may read a repo on the Hub. A `private` repo is invisible to anonymous callers. */
export type AccessKind = (typeof ACCESS_KINDS)[number]

/** A bound on the size of a file. */
export interface SizeBound {
  readonly text: string
  readonly operator: '>' | '>=' | '<' | '<='
  readonly bytes: number
}

/** The conditions of a rule. All given conditions must match; in a list of values, one match is enough. */
export interface Match {
  readonly repo?: readonly Pattern[]
  readonly type?: readonly SubjectType[]
  readonly revision?: readonly Pattern[]
  readonly file?: readonly Pattern[]
  readonly size?: SizeBound
  readonly access?: readonly AccessKind[]
  readonly licence?: readonly Pattern[]
  readonly network?: Networks
  readonly mirrorToken?: readonly Pattern[]
  readonly anonymous?: boolean
}

/** One rule. */
export interface Rule {
  /** The name that the operator gave it, else its number: `#3`. */
  readonly name: string
  /** The position in the settings file, such as hubmirror.yaml:12:5. */
  readonly where: string
  readonly match: Match
  readonly action: Action
  /** The message for a caller that is denied. */
  readonly message?: string
  /** For the action `use-token`: the name of the Hub token. */
  readonly token?: string
}
