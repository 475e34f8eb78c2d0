// The words that the prose of this project does not use, and what to write in their place: comments, and pages outside
// their code. The style card in CONTRIBUTING.md says how to write; this list holds what a machine can find.

import { extname } from 'node:path'
import { parseSync } from 'oxc-parser'

interface BannedWord {
  /** One word or several. A space stands for any white space, line breaks and comment marks included. */
  readonly words: string
  readonly instead: string
}

const BANNED: readonly BannedWord[] = [
  { words: 'who(m?)ever', instead: 'name the actor: a caller that …, a client that …, code that …' },
  { words: "nobody(?:'s)?|no one", instead: 'say who: no client, no caller; or say what is' },
  { words: "somebody(?:'s)?|someone", instead: 'say who: a client, a caller, another request' },
  { words: "everybody(?:'s)?|everyone", instead: 'say who: every caller, all clients; a repo is public' },
  { words: 'told', instead: 'notified, reported, sent, named' },
  { words: 'tell (?:the|it|them|him|us|all|each|every)', instead: 'notify, report to, send' },
  {
    words: '(?<!(?:token|credential)[^]{0,160})lent(?! (?:Hub |)(?:token|credential))',
    instead: 'shared, acquired; lent is for Hub tokens alone',
  },
  { words: 'lets? go (?:of|once|again|by)|letting go', instead: 'release' },
  { words: 'anew', instead: 'again' },
  { words: 'shall', instead: 'must, should, or the present tense' },
  { words: 'the long way|goes the long|long way round', instead: 'the full path' },
  { words: 'first look(?:s|ed)?', instead: 'early read, or the fast path' },
  { words: 'books', instead: 'space accounting' },
  { words: 'brought home|bring(?:s|ing)? home', instead: 'fetched, finished' },
  {
    words: '(?:held|holds?|holding) (?:it |them |this |that |each |all |both |every \\S+ |)against',
    instead: 'compared with, verified against',
  },
  { words: 'heed(?:s|ed)?', instead: 'observe, follow' },
  { words: 'hears?|heard', instead: 'is notified, receives, learns' },
]

export interface Finding {
  readonly line: number
  readonly word: string
  readonly instead: string
}

/** Every banned word in the prose of a file, by line. The name says how to find the prose. */
export function findBanned(name: string, text: string): readonly Finding[] {
  const prose = proseOf(name, text)
  return BANNED.flatMap(({ words, instead }) => {
    const pattern = new RegExp(`(?<![\\w-])(?:${words.replaceAll(' ', '\\s+')})(?![\\w-])`, 'gi')
    return [...prose.matchAll(pattern)].map(({ 0: found, index }) => ({
      line: prose.slice(0, index).split('\n').length,
      word: found.replaceAll(/\s+/g, ' '),
      instead,
    }))
  }).sort((one, other) => one.line - other.line)
}

/**
 * The text with everything replaced that is no prose. Lines stay where they are. Code becomes a character that no word
 * holds, and marks of comments become spaces, so that a phrase is found across two lines of a comment.
 */
function proseOf(name: string, text: string): string {
  const extension = extname(name)
  if (extension === '.md') return hide(text, codeOfMarkdown(text))
  if (['.ts', '.cts', '.mts', '.mjs', '.js'].includes(extension))
    return commentsOf(text, scriptComments(name, text))
  return commentsOf(text, hashComments(text))
}

/** Half-open: from the first character to the one behind the last. */
type Span = readonly [from: number, to: number]

const HIDDEN = '\0'

function hide(text: string, spans: readonly Span[]): string {
  let shown = ''
  let at = 0
  for (const [from, to] of spans) {
    shown += text.slice(at, from) + text.slice(from, to).replaceAll(/\S/g, HIDDEN)
    at = to
  }
  return shown + text.slice(at)
}

function commentsOf(text: string, comments: readonly Span[]): string {
  let shown = ''
  let at = 0
  for (const [from, to] of comments) {
    shown += text.slice(at, from).replaceAll(/\S/g, HIDDEN)
    shown += text
      .slice(from, to)
      .replaceAll(/^\s*(?:\/\/+|\/?\*+\/?|#+)|\*\/$/gm, (mark) => mark.replaceAll(/\S/g, ' '))
    at = to
  }
  return shown + text.slice(at).replaceAll(/\S/g, HIDDEN)
}

function scriptComments(name: string, text: string): readonly Span[] {
  return parseSync(name, text).comments.map(({ start, end }) => [start, end])
}

/** Comments of shell, Python, YAML, nginx and the like: whole lines, without the first line of a script. */
function hashComments(text: string): readonly Span[] {
  return [...text.matchAll(/^[ \t]*#(?!!).*$/gm)].map(({ 0: line, index }) => [index, index + line.length])
}

/** Fenced blocks, code in a line, and the targets of links. */
function codeOfMarkdown(text: string): readonly Span[] {
  const code =
    /^(?<fence>```+)[^\n]*\n[\s\S]*?^\k<fence>$|(?<ticks>`+)[^\n]*?[^`\n]\k<ticks>(?!`)|(?<=\])\([^)\s]*\)|<!--[\s\S]*?-->/gm
  return [...text.matchAll(code)].map(({ 0: found, index }) => [index, index + found.length])
}
