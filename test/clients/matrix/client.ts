// What the table of clients knows of one client: how it is run, what it prints, and what it cannot do. A client is data
// and a few functions that make a command; the columns (columns.ts) decide what is asked and what must come of it.

import type { RepoType } from '../../hub-simulator/repos.ts'

/** The columns of the table, in their order. */
export const COLUMNS = [
  'public',
  'again',
  'private',
  'gated',
  'policy',
  'resume',
  'upload',
  'origin killed',
  'offline',
  'prefix',
] as const
export type Column = (typeof COLUMNS)[number]

/** What stands in the row of a client that is not installed. */
export const SETUP = 'Not installed where this was written: `test/clients/setup.sh` installs it.'

/** What a client is asked to do. */
export interface Ask {
  /** The mirror's URL. */
  readonly endpoint: string
  readonly repo: string
  readonly token?: string
  /** For clients with `takesRevision`. The default is the branch that the client reads by itself. */
  readonly revision?: string
  /** A file of this machine, for uploads. */
  readonly file?: string
}

/** A process to run. Its working directory is `cwd`, else the home that the column gives it. */
export interface Command {
  readonly command: string
  readonly args: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
}

/** One row of the table. */
export interface Client {
  /** As the table names it; unique. */
  readonly name: string
  readonly repoType: Extract<RepoType, 'models' | 'datasets'>
  /** Its models are pipelines of diffusers, where those of others are a BERT. */
  readonly readsPipelines?: true
  /** Paths, or names of commands, without which it cannot run. */
  readonly needs: readonly string[]
  /** Why it is not installed where it is not. */
  readonly absent: string
  /** A command whose last line of output is the version. */
  readonly version: Command
  /** Reads the repo, and prints the SHA-256 of each file of `files`, or what `prints` says, or ends with another status. */
  readonly read: (ask: Ask) => Command
  readonly files: readonly string[]
  readonly prints?: readonly string[]
  /** What it prints for a gated repo, and for a repo that a rule denies. */
  readonly gated: RegExp
  readonly policy: RegExp
  /** Downloads the file large.bin of a repo and prints its SHA-256; for clients that keep what a killed download left. */
  readonly pull?: (ask: Ask) => Command
  /** Uploads `file` as large.bin to the repo. */
  readonly upload?: (ask: Ask) => Command
  /** It can read a branch, a tag or a commit. */
  readonly takesRevision?: boolean
  /** It has no way to send a token: it is asked for no private repo, and of a gated one only to be refused. */
  readonly isAnonymous?: true
  /** It trusts the certificates of authorities that are built into it, and no others. */
  readonly hasOwnAuthorities?: true
  /** Columns that are not played, and why. */
  readonly cannot?: Partial<Record<Column, string>>
  /** What the reader must know of a cell. */
  readonly notes?: Partial<Record<Column, string>>
  /** It clones by git, which the mirror passes through: it ends with the Hub, and can be run again once it has ended well. */
  readonly clones?: true
  /** The columns that CI plays, where it does not play all of them. */
  readonly inCi?: readonly Column[]
  /** The requests are played by a script, because the program itself is not to be had. */
  readonly isReplayed?: true
  /** Only `setup.sh --all` installs it, and CI does not play it. */
  readonly isOptional?: true
}
