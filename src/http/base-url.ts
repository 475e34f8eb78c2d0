// Base URLs and base paths, to which a target that begins with a slash is appended.

/** The URL or path without the slashes at its end: `https://host/hub/` becomes `https://host/hub`, and `/` the empty text. */
export function withoutTrailingSlash(text: string): string {
  let end = text.length
  while (end > 0 && text[end - 1] === '/') end -= 1
  return text.slice(0, end)
}
