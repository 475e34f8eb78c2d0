// Which repos an operator means: `acme/*`, `datasets/acme/*`, `gpt2`, with the type before the id as in the Hub's own
// URLs. It decides nothing.

import { compileGlob } from './glob.ts'
import { type Repo, webPrefix } from './names.ts'

/**
 * Tells whether a repo is meant by one of the patterns. A star stands for any letters of one part, two for any parts,
 * and one alone for everything. Case is ignored.
 */
export function repoPattern(patterns: readonly string[]): (repo: Repo) => boolean {
  // One whose brackets are not closed means none.
  const meant = patterns.flatMap(
    (pattern) => compileGlob(pattern === '*' ? '**' : pattern.replace(/^models\//i, '')) ?? [],
  )
  return (repo) => {
    const name = `${webPrefix(repo.type)}${repo.id}`
    return meant.some((matches) => matches(name))
  }
}

/** What would be right where a pattern is none; undefined when it is one. */
export function faultOfRepoPattern(pattern: string): string | undefined {
  if (/^[\w.*?{},[\]/-]{1,300}$/.test(pattern) && !/^\/|\/\/|\/$/.test(pattern)) return undefined
  return "expected repos such as 'acme/*' or 'datasets/acme/*'"
}
