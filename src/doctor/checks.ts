// What the doctor checks, and the form of what it finds. The words are in table.ts and the files that it puts together.

export type Status = 'ok' | 'warn' | 'fail' | 'skip'

/** Every check of a client, in the order in which it is reported: a failed check explains those behind it. */
export const CHECKS = {
  proxy: 'no proxy variable swallows the endpoint',
  dns: 'the name of the endpoint is found',
  tcp: 'the endpoint takes connections',
  tls: 'the certificate of the endpoint is trusted',
  endpoint: 'there is a Hub at this path, and not a page',
  connection: 'each request gets a whole answer',
  'token-present': 'there is a token where one is needed',
  'token-form': 'the token is well formed',
  'token-forwarded': 'the mirror passes Authorization on',
  'token-valid': 'the token is accepted',
  'repo-access': 'the token may read the repo',
  gate: 'the terms of a gated repo are accepted',
  headers: 'the headers that clients need survive',
  encoding: 'files are not compressed on the way',
  range: 'a part of a file can be fetched',
  conditional: 'an unchanged file is answered with 304',
  links: 'links to further pages lead to the endpoint',
  xet: 'Xet stays at the endpoint, or works',
  cors: 'pages of other sites may read files',
  clock: 'the clock of this machine is right',
  environment: 'the variables of the clients agree with each other',
  clients: 'which clients are installed',
  trees: 'no listing kept on this machine leads to Xet',
  disk: 'there is room for downloads',
} as const
export type CheckId = keyof typeof CHECKS

export interface Finding {
  readonly check: string
  readonly status: Status
  /** Names in braces stand for what was seen. */
  readonly message: string
  readonly cure?: string
  /** What a user sees: exception and text. A finding with a symptom has an entry in docs/troubleshooting.md. */
  readonly symptom?: string
  /** What to run to see it, if it is more than the doctor. */
  readonly command?: string
}
