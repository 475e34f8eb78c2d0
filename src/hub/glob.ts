// Globs over names and paths: `*` and `?` within one part, `**` for any parts, `[abc]`, `{a,b}`. The caller chooses the
// text, so no text may make this slow: all readings of a pattern are followed at once, one character at a time. A
// regular expression would try one reading after the other. This file knows neither repos nor rules.

type Test = (char: string) => boolean

type Node =
  | { readonly kind: 'one' | 'many'; readonly test: Test }
  | { readonly kind: 'either'; readonly branches: readonly (readonly Node[])[] }

/** A state without a test is passed without a character. */
interface State {
  readonly test: Test | undefined
  next: readonly number[]
}

const ANY: Node = { kind: 'many', test: () => true }
const SLASH: Node = { kind: 'one', test: (char) => char === '/' }
const inPart: Test = (char) => char !== '/'

/**
 * Returns the test of a pattern, which ignores case; undefined if its brackets are not closed. The time that the test
 * takes is bounded by the length of the text times that of the pattern.
 */
export function compileGlob(pattern: string): ((text: string) => boolean) | undefined {
  const nodes = new Reader(pattern.toLowerCase()).all()
  if (nodes === undefined) return undefined
  // State 0 is the end.
  const states: State[] = [{ test: undefined, next: [] }]
  const start = link(nodes, 0, states)
  return (text) => isMatch(states, start, text.toLowerCase())
}

/** Adds the states of `nodes`, which lead to `end`. Returns the first of them. */
function link(nodes: readonly Node[], end: number, states: State[]): number {
  const add = (next: readonly number[], test?: Test): number => states.push({ test, next }) - 1
  return nodes.reduceRight((after, node) => {
    if (node.kind === 'one') return add([after], node.test)
    if (node.kind === 'either') return add(node.branches.map((branch) => link(branch, after, states)))
    const again = add([], node.test)
    const fork = add([again, after])
    states[again] = { test: node.test, next: [fork] }
    return fork
  }, end)
}

function isMatch(states: readonly State[], start: number, text: string): boolean {
  let live = reach(states, [start])
  for (const char of text) {
    if (live.size === 0) return false
    const next: number[] = []
    for (const index of live) {
      const state = states[index]
      if (state?.test?.(char) === true) next.push(...state.next)
    }
    live = reach(states, next)
  }
  return live.has(0)
}

/** The states that are reached without a further character. */
function reach(states: readonly State[], from: readonly number[]): ReadonlySet<number> {
  const found = new Set(from)
  // States that are added during the loop are visited, too.
  for (const index of found) {
    const state = states[index]
    if (state?.test === undefined) for (const next of state?.next ?? []) found.add(next)
  }
  return found
}

/** Reads a pattern from left to right. */
class Reader {
  readonly #text: string
  #at = 0

  constructor(text: string) {
    this.#text = text
  }

  all(): readonly Node[] | undefined {
    return this.#sequence(false)
  }

  /** Up to the end of the pattern, or of the branch. */
  #sequence(inBraces: boolean): readonly Node[] | undefined {
    const nodes: Node[] = []
    while (this.#at < this.#text.length) {
      if (inBraces && /[,}]/.test(this.#text[this.#at] ?? '')) return nodes
      const found = this.#next()
      if (found === undefined) return undefined
      nodes.push(found)
    }
    return inBraces ? undefined : nodes
  }

  #next(): Node | undefined {
    const rest = this.#text.slice(this.#at)
    const isAtPart = this.#at === 0 || /[/{,]/.test(this.#text[this.#at - 1] ?? '')
    // `a/**` matches `a` itself as well, and `**/b` matches `b`.
    if (/^\/\*\*(?=$|[},])/.test(rest)) return this.#take(3, { kind: 'either', branches: [[], [SLASH, ANY]] })
    if (isAtPart && rest.startsWith('**/'))
      return this.#take(3, { kind: 'either', branches: [[], [ANY, SLASH]] })
    if (isAtPart && /^\*\*(?=$|[},])/.test(rest)) return this.#take(2, ANY)
    const stars = /^\*+/.exec(rest)?.[0].length
    if (stars !== undefined) return this.#take(stars, { kind: 'many', test: inPart })
    if (rest.startsWith('?')) return this.#take(1, { kind: 'one', test: inPart })
    if (rest.startsWith('[')) return this.#set(rest)
    if (rest.startsWith('{')) return this.#braces()
    if (/^[\]}]/.test(rest)) return undefined
    const char = String.fromCodePoint(rest.codePointAt(0) ?? 0)
    return this.#take(char.length, { kind: 'one', test: (other) => other === char })
  }

  #take(length: number, node: Node): Node {
    this.#at += length
    return node
  }

  /** '[abc]', '[a-z]', '[!abc]' and '[^abc]'; a bracket in first place is a character. */
  #set(rest: string): Node | undefined {
    const [whole, not, inside = ''] = /^\[([!^]?)(\]?[^\]]*)\]/.exec(rest) ?? []
    if (whole === undefined || inside === '') return undefined
    const ranges = [...inside.matchAll(/(.)-(.)|(.)/gsu)].map(
      ([, from, to, one]) => [from ?? one ?? '', to ?? one ?? ''] as const,
    )
    const isIn: Test = (char) => ranges.some(([from, to]) => from <= char && char <= to)
    return this.#take(whole.length, {
      kind: 'one',
      test: (char) => char !== '/' && isIn(char) === (not === ''),
    })
  }

  #braces(): Node | undefined {
    const branches: (readonly Node[])[] = []
    do {
      this.#at += 1
      const branch = this.#sequence(true)
      if (branch === undefined) return undefined
      branches.push(branch)
    } while (this.#text[this.#at] === ',')
    return this.#take(1, { kind: 'either', branches })
  }
}
