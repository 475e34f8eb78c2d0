// The one page for people who open a URL of the Hub at the mirror. The Hub's own pages are not passed on: a person
// who logs in there would give password and cookies to the mirror.

import { ERRORS } from '../errors.ts'
import { splitTarget } from '../hub/url-text.ts'
import type { Answer } from '../mirror/answer.ts'

/** No script, no style, no frame around it, and no form. */
const CONTENT_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

export interface PageRequest {
  /** The canonical target of the route. */
  readonly target: string
  /** The base URLs, without a slash at the end. */
  readonly hubBase: string
  readonly mirrorBase: string
  /** The client's Accept field. */
  readonly accept: string | undefined
}

/**
 * The answer to a GET or HEAD of a page: what the mirror is, and a link to the same path on the Hub. It is HTML for clients
 * that name it in Accept, and plain text for all others. The status is 404 but for `/`: a program that wanted a file, or wants
 * to know whether a repo exists, must not take the page for an answer.
 */
export function pageAnswer({ target, hubBase, mirrorBase, accept = '' }: PageRequest): Answer {
  const { path } = splitTarget(target)
  // Without the query, which may hold a code of a login. Appended to the base, so that no path leads to another host.
  const link = hubBase + path
  const isHtml = /\b(?:text\/html|application\/xhtml\+xml)\b/i.test(accept)
  const bytes = Buffer.from(isHtml ? htmlPage(link, mirrorBase) : textPage(link, mirrorBase))
  const isRoot = path === '/'
  const { status, header, message } = ERRORS.page_elsewhere
  return {
    status: isRoot ? 200 : status,
    outcome: 'own',
    headers: {
      'content-type': `${isHtml ? 'text/html' : 'text/plain'}; charset=utf-8`,
      'content-length': String(bytes.length),
      'cache-control': 'no-store',
      'content-security-policy': CONTENT_POLICY,
      'referrer-policy': 'no-referrer',
      'x-content-type-options': 'nosniff',
      vary: 'Accept',
      ...(isRoot ? {} : { 'x-error-code': header, 'x-error-message': message }),
    },
    body: { kind: 'bytes', bytes },
  }
}

function htmlPage(link: string, mirrorBase: string): string {
  const to = escapeHtml(link)
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>hubmirror</title>
<h1>This is a mirror of the Hugging Face Hub</h1>
<p>It serves files and the API to programs. It has no pages. <strong>Never enter a password here.</strong></p>
<p>The page is on the Hub: <a href="${to}" rel="noreferrer">${to}</a></p>
<p>To use the mirror, set this variable before your program starts:</p>
<pre>HF_ENDPOINT=${escapeHtml(mirrorBase)}</pre>
</html>
`
}

function textPage(link: string, mirrorBase: string): string {
  return `This is a mirror of the Hugging Face Hub. It serves files and the API to programs. It has no pages.

The page is on the Hub: ${link}

To use the mirror, set this variable before your program starts:

  HF_ENDPOINT=${mirrorBase}
`
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => ENTITIES[character] ?? '')
}
