// A part of the settings file that is more than one value: texts, lists and maps, each with its place. It knows no
// YAML, so that whoever reads a section needs none either.

/** A node of a section. `where` is file:line:column. */
export type Placed =
  | { readonly kind: 'text'; readonly text: string; readonly where: string }
  | { readonly kind: 'list'; readonly items: readonly Placed[]; readonly where: string }
  | { readonly kind: 'map'; readonly entries: readonly PlacedEntry[]; readonly where: string }
  /** `key:` with nothing behind it. */
  | { readonly kind: 'nothing'; readonly where: string }

/** One `key: value`; `where` is the place of the key. */
export interface PlacedEntry {
  readonly key: string
  readonly where: string
  readonly value: Placed
}
