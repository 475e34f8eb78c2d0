/**
 * The URL of a built file, for a thread or a process of its own: `path` is its place below `dist`. Node runs no TypeScript
 * there. Code that runs from source (tests, tsx) uses the build, which must exist.
 */
export function builtFile(path: string): URL {
  return new URL(import.meta.url.endsWith('.ts') ? `../dist/${path}` : path, import.meta.url)
}
