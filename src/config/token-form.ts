// Finds faults in the form of a token from the settings: quotes, a variable name and other text that programs write around
// it. Messages never contain any part of the token.

/** Forms that no token has, each with its cure. The first match counts. */
const WRONG: readonly (readonly [form: RegExp, cure: string])[] = [
  [
    /\0|^\ufeff|^\ufffd|^[\u00ef\u00bb\u00bf]/u,
    'the file is UTF-16 or begins with a byte order mark: save it as plain ASCII',
  ],
  [
    /^["'`\u2018\u2019\u201c\u201d]|["'`\u2018\u2019\u201c\u201d]$/u,
    'remove the quotes: an env file keeps them',
  ],
  [/^\{/, 'give only the token, not JSON that contains it'],
  [/^(?:export\s+)?[A-Za-z_]\w*\s*=\s*[^=\s]/, 'remove the name and the equals sign before the token'],
  [
    /^(?:authorization\s*:\s*)?(?:bearer|basic|token)(?:\s|$)/i,
    'give only the token: the mirror adds Bearer itself',
  ],
  [/^authorization\s*:/i, 'give only the token: the mirror adds Bearer itself'],
  [/^\$|^%\w+%$|^\{\{|^<.*>$|\$\{/, 'this is a placeholder that was not replaced by the token'],
  [/^(?:none|null|undefined|false|true|changeme|x{4,})$/i, 'this is a placeholder, not a token'],
  [/^(?:~|\.{0,2})\/|^[A-Za-z]:\\|^file:/, 'this is the name of a file: use the setting for a token file'],
  [/^https?:/i, 'this is a URL, not a token'],
  [/[\r\n]/, 'it contains a line break: the file must contain one token and nothing else'],
  [/^\s|\s$/, 'remove the spaces around it'],
  [/\s/, 'it contains a space: it was cut off, or pasted with other text'],
  // The Base64 of the prefix that every user token has.
  [/^aGZf[A-Za-z0-9+/]+=*$/, 'it is Base64: decode it once more'],
]

/** Says how to turn the text into a token; undefined if its form is fine. */
export function tokenFormCure(text: string): string | undefined {
  return WRONG.find(([form]) => form.test(text))?.[1]
}
