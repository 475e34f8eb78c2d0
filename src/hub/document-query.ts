// The query of a request for a document: which parameters change the answer, and one spelling for each question. The Hub is
// asked in this spelling and the answer is stored under it, so that no spelling can put the answer to one question under the
// name of another.

import { encodeSegment, splitTarget } from './url-text.ts'

/** The documents whose queries are listed here; a `site` document by the first word of its path. */
export type QueriedDocument = keyof typeof PARAMETERS

const INFO = 'blobs securityStatus expand expand[]'

/**
 * The parameters that clients of the Hub send for each document, in the order in which huggingface_hub sends them. A document
 * has as many names in the store as these have values. So a parameter is listed only where it changes the answer.
 */
const PARAMETERS = {
  repo: INFO,
  revision: INFO,
  tree: 'recursive expand limit cursor',
  'paths-info': 'expand',
  refs: 'include_prs',
  commits: 'p limit expand expand[] formatted cursor',
  treesize: '',
  parquet: '',
  croissant: '',
  'safetensors-metadata': '',
  list:
    'search author filter sort direction limit full cardData config fetch_config gated expand expand[] cursor p ' +
    'pipeline_tag inference inference_provider num_parameters apps datasets models linked',
  'agent-harnesses': '',
  collections: 'q owner item sort limit cursor',
  daily_papers: 'date week month submitter sort limit p',
  'datasets-tags-by-type': 'type',
  'models-tags-by-type': 'type',
  organizations: 'limit cursor',
  papers: 'q limit',
  spaces: 'q filter sdk includeNonRunning',
  tasks: '',
  trending: 'type limit',
  users: 'limit cursor',
} as const satisfies Record<string, string>

const NAMES: ReadonlyMap<string, readonly string[]> = new Map(
  Object.entries(PARAMETERS).map(([document, names]) => [document, names.split(' ').filter(Boolean)]),
)

/** Parameters that are true or false. Python clients on `requests` write `True`. */
const SWITCHES: ReadonlySet<string> = new Set(
  'blobs securityStatus recursive include_prs formatted full cardData config fetch_config linked includeNonRunning'.split(
    ' ',
  ),
)
/** Switches that the Hub takes for off when they are absent. */
const OFF_BY_DEFAULT: ReadonlySet<string> = new Set(['blobs', 'securityStatus', 'recursive', 'include_prs'])
/** Documents whose `expand` is a switch. In others it names fields. */
const EXPANDED_AS_A_WHOLE: ReadonlySet<QueriedDocument> = new Set<QueriedDocument>(['tree', 'paths-info'])

/**
 * The query (with its question mark, or empty) in the one spelling for its meaning: parameters in the order of the list, their
 * values in the order in which they came (fields to expand sorted, and once each), one way of escaping, switches in lower case and
 * left out where they are off. A query with a parameter that is not listed stays as it is: only the Hub knows what it means.
 */
export function canonicalQuery(document: QueriedDocument, query: string): string {
  const given = new URLSearchParams(query)
  const names = NAMES.get(document) ?? []
  if ([...given.keys()].some((name) => !names.includes(name))) return query
  const written = names.flatMap((name) => {
    const values = given
      .getAll(name)
      .map((value) => canonicalValue(document, name, value))
      .filter((value) => value !== undefined)
      .map((value) => `${encodeSegment(name)}=${encodeSegment(value)}`)
    // A set of fields, whose order means nothing.
    return name.startsWith('expand') ? [...new Set(values)].sort(compareTexts) : values
  })
  return written.length === 0 ? '' : `?${written.join('&')}`
}

function compareTexts(one: string, other: string): number {
  return one < other ? -1 : one > other ? 1 : 0
}

/** Undefined for a switch that is off by default, and off. */
function canonicalValue(document: QueriedDocument, name: string, value: string): string | undefined {
  const isExpand = name === 'expand' && EXPANDED_AS_A_WHOLE.has(document)
  if (!isExpand && !SWITCHES.has(name)) return value
  const text = /^(?:true|false)$/i.test(value) ? value.toLowerCase() : value
  return text === 'false' && (isExpand || OFF_BY_DEFAULT.has(name)) ? undefined : text
}

/**
 * Whether the query of a canonical target has only listed parameters. There is no limit to the number of others, and they may
 * hold a token.
 */
export function hasListedQuery(document: QueriedDocument, target: string): boolean {
  const names = NAMES.get(document) ?? []
  for (const [name, value] of new URLSearchParams(splitTarget(target).query)) {
    if (!names.includes(name) || /hf_[A-Za-z0-9]{16}/.test(value)) return false
  }
  return true
}

/** The document whose parameters a target below `/api/` has that is about no repo; undefined when none is listed. */
export function siteDocumentOf(target: string): QueriedDocument | undefined {
  const word = /^\/api\/([^/?]+)/.exec(target)?.[1] ?? ''
  return NAMES.has(word) ? (word as QueriedDocument) : undefined
}
