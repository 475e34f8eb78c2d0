// The names of one revision. Git, and therefore the Hub, accept a branch by its name and by the longer names of its ref.
// Rules are matched against all of them. Pure text: only the Hub knows which commit a name points to.

/** Names of the default branch, which the Hub calls main. */
const HEAD_NAMES = ['HEAD', '@']

/** Prefixes of refs in the order of gitrevisions(7), the longest first. */
const PREFIXES = ['refs/heads/', 'refs/tags/', 'refs/', 'heads/', 'tags/']

/**
 * Every name by which a rule may refer to the revision of a request; for rules that restrict. `heads/dev` may be the branch
 * `dev`, a tag of that name, or a branch of the longer name. `dev~1` is reached through `dev`.
 */
export function possibleNames(revision: string): readonly string[] {
  const [stem = ''] = revision.split(/[~^:]|@\{/)
  const bare = withoutPrefix(HEAD_NAMES.includes(stem.toUpperCase()) || stem === '' ? 'main' : stem)
  const names = [revision, stem, bare, ...PREFIXES.map((prefix) => prefix + bare)]
  return [...new Set(bare.toLowerCase() === 'main' ? [...names, ...HEAD_NAMES] : names)].filter(
    (name) => name !== '',
  )
}

/** The names that certainly refer to the same revision; for rules that grant. */
export function certainNames(revision: string): readonly string[] {
  const branch = /^refs\/heads\/(.+)$/.exec(revision)?.[1]
  return branch === undefined ? [revision] : [revision, branch]
}

function withoutPrefix(name: string): string {
  const prefix = PREFIXES.find((each) => name.toLowerCase().startsWith(each) && name.length > each.length)
  return prefix === undefined ? name : name.slice(prefix.length)
}

/** Whether a revision may be a commit id, complete or abbreviated: 7 to 40 hex digits. */
export function mayBeCommit(revision: string): boolean {
  return /^[0-9a-f]{7,40}$/i.test(revision)
}
