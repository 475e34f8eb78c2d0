// The rules of a policy as values: what each asks, and what it says then. They are made from the settings file
// (config/policies.ts) and weighed by decide.ts. Knows neither the file nor the mirror.

import { REPO_TYPES } from '../hub/names.ts'
import type { Networks, Pattern } from './patterns.ts'

export const ACTIONS = ['allow', 'deny', 'no-store', 'use-token'] as const
export type Action = (typeof ACTIONS)[number]

/** What a repo can be. Buckets have neither revisions nor a place in the store, but bytes that may be denied. */
export const SUBJECT_TYPES = [...REPO_TYPES, 'bucket'] as const
export type SubjectType = (typeof SUBJECT_TYPES)[number]

export const ACCESS_KINDS = ['public', 'gated', 'private'] as const
/** Who may read a repo at the Hub. `private` is what a stranger is not shown at all. */
export type AccessKind = (typeof ACCESS_KINDS)[number]

/** A bound on the size of a file. */
export interface SizeBound {
  readonly text: string
  readonly operator: '>' | '>=' | '<' | '<='
  readonly bytes: number
}

/** All that is given must hold; of several values one suffices. */
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
  /** As the operator called it, else its number: `#3`. */
  readonly name: string
  /** hubmirror.yaml:12:5 */
  readonly where: string
  readonly match: Match
  readonly action: Action
  /** What a caller reads who is denied. */
  readonly message?: string
  /** Of `use-token`: the name of the Hub token. */
  readonly token?: string
}
