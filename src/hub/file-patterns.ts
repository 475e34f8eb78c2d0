// Which files of a repo a client of the Hub means by patterns, as `hf download` and `snapshot_download` read them: those of
// Python's fnmatch, in which `*` also stands for slashes, and case counts. The globs of rules (glob.ts) differ in both.

/** What one character must be, or `*`. */
type Part = '*' | ((char: string) => boolean)

/** A test whether a file is meant, by its path in the repo. */
export type PathTest = (path: string) => boolean

/**
 * The files that match one of `include` (all, if there are none), less those that match one of `exclude`. A pattern that
 * ends with a slash stands for all that is below the folder.
 */
export function pathFilter(include: readonly string[], exclude: readonly string[]): PathTest {
  const [isIncluded, isExcluded] = [include, exclude].map((patterns) => patterns.map(patternTest))
  return (path) =>
    (isIncluded?.length === 0 || isIncluded?.some((test) => test(path)) === true) &&
    isExcluded?.some((test) => test(path)) !== true
}

/** The test of one pattern. It takes at most as many steps as the length of the path times that of the pattern. */
function patternTest(pattern: string): PathTest {
  const parts = parse(Array.from(pattern.endsWith('/') ? `${pattern}*` : pattern))
  return (path) => matches(parts, Array.from(path))
}

function matches(parts: readonly Part[], chars: readonly string[]): boolean {
  let [part, char] = [0, 0]
  // Where to go on when what follows the last star does not fit: the star takes one character more.
  let again: { readonly part: number; char: number } | undefined
  while (char < chars.length) {
    const test = parts[part]
    if (test === '*') {
      part += 1
      again = { part, char }
    } else if (test?.(chars[char] ?? '') === true) {
      part += 1
      char += 1
    } else if (again !== undefined) {
      again.char += 1
      ;({ part, char } = again)
    } else return false
  }
  return parts.slice(part).every((rest) => rest === '*')
}

function parse(pattern: readonly string[]): readonly Part[] {
  const parts: Part[] = []
  for (let at = 0; at < pattern.length; at += 1) {
    const char = pattern[at] ?? ''
    const end = char === '[' ? setEnd(pattern, at + 1) : undefined
    if (char === '*') parts.push('*')
    else if (char === '?') parts.push(() => true)
    else if (end === undefined) parts.push((other) => other === char)
    else {
      parts.push(setTest(pattern.slice(at + 1, end)))
      at = end
    }
  }
  return parts
}

/** Where the set that begins at `start` is closed. Undefined if it is not; the bracket is a character then. */
function setEnd(pattern: readonly string[], start: number): number | undefined {
  // A closing bracket in first place is a character.
  const first = pattern[start] === '!' ? start + 1 : start
  const end = pattern.indexOf(']', first + 1)
  return end === -1 ? undefined : end
}

/** The test of what is between the brackets: `abc`, `a-z`, and `!abc` for all others. */
function setTest(inside: readonly string[]): (char: string) => boolean {
  const isNot = inside[0] === '!'
  const chars = isNot ? inside.slice(1) : inside
  const ranges: (readonly [from: string, to: string])[] = []
  for (let at = 0; at < chars.length; at += 1) {
    const from = chars[at] ?? ''
    const to = chars[at + 1] === '-' ? chars[at + 2] : undefined
    ranges.push([from, to ?? from])
    if (to !== undefined) at += 2
  }
  return (char) => ranges.some(([from, to]) => isWithin(char, from, to)) !== isNot
}

function isWithin(char: string, from: string, to: string): boolean {
  const [at, low, high] = [char, from, to].map((text) => text.codePointAt(0) ?? 0)
  return at !== undefined && low !== undefined && high !== undefined && low <= at && at <= high
}
