// Which repos an operator means: `acme/*`, `datasets/acme/*`, `gpt2`, with the type before the id as in the Hub's own
// URLs. It decides nothing.

import { compileGlob } from './glob.ts'
import { type Repo, webPrefix } from './names.ts'

/**
 * Returns a test whether a repo matches one of the patterns. A star stands for any characters of one part, two for any
 * parts, and one alone for everything. Case is ignored.
 */
export function repoPattern(patterns: readonly string[]): (repo: Repo) => boolean {
  // A pattern whose brackets are not closed matches nothing.
  const meant = patterns.flatMap(
    (pattern) => compileGlob(pattern === '*' ? '**' : pattern.replace(/^models\//i, '')) ?? [],
  )
  return (repo) => {
    const name = `${webPrefix(repo.type)}${repo.id}`
    return meant.some((matches) => matches(name))
  }
}

/** What would be right instead of a text that is no pattern; undefined if it is one. */
export function faultOfRepoPattern(pattern: string): string | undefined {
  if (/^[\w.*?{},[\]/-]{1,300}$/.test(pattern) && !/^\/|\/\/|\/$/.test(pattern)) return undefined
  return "expected repos such as 'acme/*' or 'datasets/acme/*'"
}
