// The links between the pages of this repository, and the files that pages name. Knows nothing of links to other places.

import { existsSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'

/** Every relative link of a page that leads to no file, or to no heading of a page; one sentence for each. */
export function brokenLinks(root: string, page: string): readonly string[] {
  return targetsOf(readFileSync(join(root, page), 'utf8')).flatMap((target) => {
    const [path = '', heading] = target.split('#')
    const file = path === '' ? join(root, page) : join(root, dirname(page), decodeURIComponent(path))
    if (!existsSync(file)) return [`${page}: ${target} leads to no file`]
    if (heading === undefined || statSync(file).isDirectory() || !file.endsWith('.md')) return []
    if (headingsOf(readFileSync(file, 'utf8')).has(heading)) return []
    return [`${page}: ${target} leads to no heading of ${relative(root, file)}`]
  })
}

/** Every file or folder of this repository that a page names in code and that does not exist. Pages omit `src/`. */
export function missingFiles(root: string, page: string): readonly string[] {
  const named = readFileSync(join(root, page), 'utf8').matchAll(
    /`((?:[\w.-]+\/)*[\w-]+\.c?ts|(?:src|test)\/[\w./-]*)`/g,
  )
  return [...new Set([...named].map(([, name = '']) => name))]
    .filter((name) => !['', 'src'].some((base) => existsSync(join(root, base, name))))
    .map((name) => `${page}: ${name} does not exist`)
}

/** Targets of links and images, in Markdown and in HTML, that name no scheme. */
function targetsOf(text: string): readonly string[] {
  const inMarkdown = [...withoutCode(text).matchAll(/\]\((?<target>[^)\s]+)(?:\s+"[^"]*")?\)/g)]
  const inHtml = [...text.matchAll(/<(?:a|img|source)\s[^>]*?(?:href|src|srcset)="(?<target>[^"]+)"/g)]
  return [...inMarkdown, ...inHtml]
    .map(({ groups }) => groups?.['target'] ?? '')
    .filter((target) => !/^[a-z][a-z0-9+.-]*:/i.test(target))
}

/** The names that GitHub gives to headings: in lower case, without punctuation, spaces as hyphens, a second one counted. */
function headingsOf(text: string): ReadonlySet<string> {
  const names = new Set<string>()
  for (const [, title = ''] of withoutFences(text).matchAll(/^#{1,6}\s+(.+?)\s*#*$/gm)) {
    const shown = title.replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1').replaceAll('`', '')
    const name = shown
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{M}\p{N}\p{Pc}\- ]/gu, '')
      .replaceAll(' ', '-')
    let times = 0
    while (names.has(times === 0 ? name : `${name}-${times}`)) times += 1
    names.add(times === 0 ? name : `${name}-${times}`)
  }
  return names
}

function withoutCode(text: string): string {
  return withoutFences(text).replaceAll(/(`+)[^\n]*?[^`\n]\1(?!`)/g, '')
}

function withoutFences(text: string): string {
  return text.replaceAll(/^(```+)[^\n]*\n[\s\S]*?^\1$/gm, '')
}
