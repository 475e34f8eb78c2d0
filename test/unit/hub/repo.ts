// Checked names for tests, from plain text.

import {
  type CommitHash,
  isCommitHash,
  parseRepoId,
  type Repo,
  type RepoType,
} from '../../../src/hub/names.ts'

/** The repo, or an error if the test itself names an impossible one. */
export function repo(id: string, type: RepoType = 'model'): Repo {
  const parsed = parseRepoId(id)
  if (parsed === undefined) throw new Error(`no repo id: ${id}`)
  return { type, id: parsed }
}

/** The commit whose 40 digits are all this one. */
export function commit(digit: string): CommitHash {
  const text = digit.repeat(40)
  if (!isCommitHash(text)) throw new Error(`no hex digit: ${digit}`)
  return text
}
