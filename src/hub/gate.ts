// Which files of a gated repo the Hub may show to callers without access. Pure.

/**
 * Whether a file may lie outside the gate of its repo: the model card and `.gitattributes`, in any folder and in any
 * case, so that people can read what they request access to. `path` is that of the file, or a target that ends with it.
 *
 * Such a file proves nothing about the others. If it is shown to an anonymous caller, the repo may still be gated; and
 * a refusal of the other files may not apply to it. The Hub documents no list, so this one is wide on purpose: each
 * name on it costs one more question, and a missing name could open a gated repo.
 */
export function mayBeOutsideGate(path: string): boolean {
  return /(?:^|\/)(?:readme(?:\.\w+)?|\.gitattributes)$/i.test(path)
}
