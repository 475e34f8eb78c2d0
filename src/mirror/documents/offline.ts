// What a mirror that is offline by configuration says when it cannot answer. Asking again changes nothing, so that no
// status is used which clients repeat (408, 429 and 5xx). Two answers differ in what clients make of them: see errors.ts.

import { MirrorError } from '../../errors.ts'
import type { Repo } from '../../hub/names.ts'

/** What is stored of the file that was asked for. */
export interface FileKnowledge {
  /** Whether anything of the repo may be shown. */
  readonly isOpen: boolean
  /** Whether the commit is known that the revision stands for. */
  readonly hasRevision: boolean
  /** Whether the commit has the file; undefined when no stored listing tells. */
  readonly isListed: boolean | undefined
}

/** The error for an answer of the API. */
export function offlineError(repo: Repo | undefined, isOpen: boolean): MirrorError {
  if (repo === undefined) return new MirrorError('offline_and_absent')
  if (!isOpen) return nothingOfRepo()
  return new MirrorError('offline_and_unknown')
}

/** The error for a file. */
export function offlineFileError({ isOpen, hasRevision, isListed }: FileKnowledge): MirrorError {
  if (!isOpen) return nothingOfRepo()
  if (!hasRevision) return absent('knows no such revision of this repo')
  if (isListed === true) return absent('has not stored this file')
  return new MirrorError('offline_and_unknown', {
    message: 'This mirror is offline by configuration, and cannot tell whether the repo has this file.',
  })
}

/** It may be stored and not everybody's: who may read it only the Hub can say. */
function nothingOfRepo(): MirrorError {
  return absent('has stored no public content of this repo')
}

function absent(what: string): MirrorError {
  return new MirrorError('offline_and_absent', {
    message: `This mirror is offline by configuration, and ${what}. Ask its operator.`,
  })
}
