// What a mirror in offline mode answers when it cannot serve. Repeating the request changes nothing, so no status is used
// that clients repeat (408, 429 and 5xx). Two answers differ in what clients make of them: see errors.ts.

import { MirrorError } from '../../errors.ts'
import type { DocumentRoute } from './hub-documents.ts'

/** What is stored of the requested file. */
export interface FileKnowledge {
  /** Whether anything of the repo may be shown. */
  readonly isOpen: boolean
  /** Whether the commit that the revision stands for is known. */
  readonly hasRevision: boolean
  /** Whether the commit has the file; undefined when no stored listing says. */
  readonly isListed: boolean | undefined
}

const NO_LIST =
  'This mirror is offline by configuration. It lists the public repos that it has stored, by search, author, filter, sort and limit. ' +
  'It has none of this type, or cannot answer another parameter of this request.'

/** The error for an answer of the API. */
export function offlineError({ repo, document }: DocumentRoute, isOpen: boolean): MirrorError {
  if (document === 'list') return new MirrorError('offline_and_absent', { message: NO_LIST })
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

/** It may be stored and not public: only the Hub could say who may read it. */
function nothingOfRepo(): MirrorError {
  return absent('has stored no public content of this repo')
}

function absent(what: string): MirrorError {
  return new MirrorError('offline_and_absent', {
    message: `This mirror is offline by configuration, and ${what}. Ask its operator.`,
  })
}
