// A repo as an operator names it on the command line.

import { type Command, InvalidArgumentError } from 'commander'
import { parseRepoId, REPO_ID_RULE, REPO_TYPES, type Repo, type RepoType } from '../hub/names.ts'

/**
 * Reads `org/name`, `dataset/org/name` or `datasets/org/name`. Without such a prefix the repo is of `type`, by default a
 * model. Throws InvalidArgumentError.
 */
export function parseRepo(text: string, type?: RepoType): Repo {
  const [first = '', ...rest] = text.split('/')
  const named = rest.length === 0 ? undefined : REPO_TYPES.find((one) => first === one || first === `${one}s`)
  const id = parseRepoId(named === undefined ? text : rest.join('/'))
  if (id === undefined) throw new InvalidArgumentError(REPO_ID_RULE)
  if (named !== undefined && type !== undefined && named !== type)
    throw new InvalidArgumentError(`'${text}' is a ${named}, and --type says ${type}.`)
  return { type: named ?? type ?? 'model', id }
}

/** The repo as `parseRepo` reads it. */
export function formatRepo({ type, id }: Repo): string {
  return type === 'model' ? id : `${type}/${id}`
}

/** What `read` returns. Ends the command, with the message on stderr, if it throws InvalidArgumentError. */
export function readOrEnd<T>(command: Command, read: () => T): T {
  try {
    return read()
  } catch (error) {
    if (error instanceof InvalidArgumentError) command.error(`error: ${error.message}`)
    throw error
  }
}
