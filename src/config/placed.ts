// A section of the settings file: texts, lists and maps, each with its position. It does not depend on YAML, and neither
// does the code that reads a section.

/** A node of a section. `where` is file:line:column. */
export type Placed =
  | { readonly kind: 'text'; readonly text: string; readonly where: string }
  | { readonly kind: 'list'; readonly items: readonly Placed[]; readonly where: string }
  | { readonly kind: 'map'; readonly entries: readonly PlacedEntry[]; readonly where: string }
  /** `key:` without a value. */
  | { readonly kind: 'nothing'; readonly where: string }

/** One `key: value`. `where` is the position of the key. */
export interface PlacedEntry {
  readonly key: string
  readonly where: string
  readonly value: Placed
}
