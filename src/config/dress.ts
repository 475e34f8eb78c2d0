// What is wrong with the form of a token that an operator has given: it came with what other programs write around it.
// It never repeats any of the token.

/** What to look for, and what to do about it; the first that fits. */
const WRONG: readonly (readonly [form: RegExp, cure: string])[] = [
  [
    /\0|^\ufeff|^\ufffd|^[\u00ef\u00bb\u00bf]/u,
    'the file is UTF-16 or begins with a byte order mark: save it as plain ASCII',
  ],
  [
    /^["'`\u2018\u2019\u201c\u201d]|["'`\u2018\u2019\u201c\u201d]$/u,
    'remove the quotes: an env file keeps them',
  ],
  [/^\{/, 'give the token alone, not JSON that holds it'],
  [/^(?:export\s+)?[A-Za-z_]\w*\s*=\s*[^=\s]/, 'remove the name and the equals sign before the token'],
  [
    /^(?:authorization\s*:\s*)?(?:bearer|basic|token)(?:\s|$)/i,
    'give the token alone: the mirror adds Bearer itself',
  ],
  [/^authorization\s*:/i, 'give the token alone: the mirror adds Bearer itself'],
  [
    /^\$|^%\w+%$|^\{\{|^<.*>$|\$\{/,
    'this is a placeholder: what should have put the token in its place did not',
  ],
  [/^(?:none|null|undefined|false|true|changeme|x{4,})$/i, 'this is a placeholder, not a token'],
  [
    /^(?:~|\.{0,2})\/|^[A-Za-z]:\\|^file:/,
    'this is the name of a file: give it as the setting of the token file',
  ],
  [/^https?:/i, 'this is a URL, not a token'],
  [/[\r\n]/, 'it has a line break inside: the file must hold one token and nothing else'],
  [/^\s|\s$/, 'remove the blanks around it'],
  [/\s/, 'it has a blank inside: it was cut, or pasted with something else'],
  // The Base64 of what every token of a user begins with.
  [/^aGZf[A-Za-z0-9+/]+=*$/, 'it is in Base64: decode it once more'],
]

/** What would make a token of the text; undefined where nothing is seen that does not belong to one. */
export function dressCure(text: string): string | undefined {
  return WRONG.find(([form]) => form.test(text))?.[1]
}
