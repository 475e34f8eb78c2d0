// Formats log lines for a terminal: one short line each, in which a request comes first. It adds nothing to the log, and
// escapes every control character.

import { styleText } from 'node:util'
import type { DestinationStream } from 'pino'
import prettyBytes from 'pretty-bytes'

type Fields = Readonly<Record<string, unknown>>
type Style = Parameters<typeof styleText>[0]

const LEVELS: Readonly<Record<string, Style>> = { warn: 'yellow', error: 'red', fatal: 'red' }

/** A destination for lines of JSON that writes them to `out` in the format for a terminal. */
export function prettyDestination(out: DestinationStream, hasColours: boolean): DestinationStream {
  return {
    write(lines) {
      const shown = lines.split('\n').filter((line) => line !== '')
      out.write(shown.map((line) => `${prettyLine(line, hasColours)}\n`).join(''))
    },
  }
}

/** Formats one line of the log, without its line end. A line that is not a JSON object is only escaped. */
export function prettyLine(line: string, hasColours = false): string {
  const fields = parsed(line)
  if (fields === undefined) return plain(line)
  const paint = (style: Style, text: string): string =>
    hasColours ? styleText(style, text, { validateStream: false }) : text
  const { level, time, msg, err, ...rest } = fields
  const at = new Date(String(time))
  const clock = Number.isNaN(at.getTime()) ? '' : at.toTimeString().slice(0, 8)
  const isRequest = msg === 'request'
  const style = LEVELS[String(level)]
  const word = isRequest && style === undefined ? undefined : String(level).toUpperCase().padEnd(5)
  const text = isRequest ? requestText(rest) : [plain(String(msg)), ...pairs(rest)].join('  ')
  const parts = [
    paint('dim', clock),
    ...(word === undefined ? [] : [style ? paint(style, word) : word]),
    text,
  ]
  return parts.join(' ') + errorText(err)
}

/** `GET 200 hit models/org/name@main config.json 28 B 1.2 ms` */
function requestText(fields: Fields): string {
  const { method, status, outcome, repo, revision, path, route, bytes, totalMs } = fields
  const about = repo === undefined ? route : revision === undefined ? repo : `${text(repo)}@${text(revision)}`
  const size = typeof bytes === 'number' && bytes > 0 ? prettyBytes(bytes) : undefined
  const time = typeof totalMs === 'number' ? `${totalMs} ms` : undefined
  const words = [method, status, outcome, about, path, size, time]
  return words
    .filter((word) => word !== undefined)
    .map((word) => plain(text(word)))
    .join(' ')
}

function errorText(error: unknown): string {
  if (typeof error !== 'object' || error === null) return ''
  const { code, message, stack } = error as Fields
  const words = [code, message].filter((word) => word !== undefined).map((word) => plain(text(word)))
  const lines = typeof stack === 'string' ? stack.split('\n').slice(1) : []
  return `  ${words.join(': ')}${lines.map((line) => `\n    ${plain(line.trim())}`).join('')}`
}

function pairs(fields: Fields): string[] {
  return Object.entries(fields).map(([name, value]) => `${plain(name)}=${plain(text(value))}`)
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? '')
}

function parsed(line: string): Fields | undefined {
  try {
    const value: unknown = JSON.parse(line)
    return typeof value === 'object' && value !== null ? (value as Fields) : undefined
  } catch {
    return undefined
  }
}

/** Escapes control and direction characters in the way of JSON. */
function plain(given: string): string {
  return given.replace(
    /[\p{Cc}\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/gu,
    (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}
