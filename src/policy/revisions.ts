// The names of one revision. Git, and so the Hub, know a branch by its name and by the longer ones of its ref; a rule is
// held against all of them. Pure text: which commit a name stands for is a fact that only the Hub can tell.

/** What stands for the default branch, which the Hub calls main. */
const HEAD_NAMES = ['HEAD', '@']

/** In the order of gitrevisions(7), the longest first. */
const PREFIXES = ['refs/heads/', 'refs/tags/', 'refs/', 'heads/', 'tags/']

/**
 * Every name under which a rule may mean what a request calls `revision`: for rules that keep something away. `heads/dev`
 * may be the branch `dev`, a tag of that name, or a branch of the longer name, and `dev~1` is reached by way of `dev`.
 */
export function possibleNames(revision: string): readonly string[] {
  const [stem = ''] = revision.split(/[~^:]|@\{/)
  const bare = withoutPrefix(HEAD_NAMES.includes(stem.toUpperCase()) || stem === '' ? 'main' : stem)
  const names = [revision, stem, bare, ...PREFIXES.map((prefix) => prefix + bare)]
  return [...new Set(bare.toLowerCase() === 'main' ? [...names, ...HEAD_NAMES] : names)].filter(
    (name) => name !== '',
  )
}

/** The names that mean the same for certain: for rules that let something through. */
export function certainNames(revision: string): readonly string[] {
  const branch = /^refs\/heads\/(.+)$/.exec(revision)?.[1]
  return branch === undefined ? [revision] : [revision, branch]
}

function withoutPrefix(name: string): string {
  const prefix = PREFIXES.find((each) => name.toLowerCase().startsWith(each) && name.length > each.length)
  return prefix === undefined ? name : name.slice(prefix.length)
}

/** Whether a revision may be the id of a commit, whole or in short: 7 to 40 hex digits. */
export function mayBeCommit(revision: string): boolean {
  return /^[0-9a-f]{7,40}$/i.test(revision)
}
