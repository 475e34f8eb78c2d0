// Shows how far `hubmirror prefetch` is, on stderr: bars at a terminal, lines otherwise.

import { MultiBar, type SingleBar } from 'cli-progress'
import { formatSize, formatSpan, plural, printable } from '../store-output.ts'
import type { FileObserver, FileResult, JobObserver } from './job.ts'
import type { ListedFile } from './listing.ts'

/** Lines about the whole, where there are no bars. */
const EVERY_MS = 10_000
/** Smaller files have no bar of their own: they are there before it could be seen. */
const BAR_FROM_BYTES = 4_000_000
/** Longer names are cut at their front, so that a bar has one line. */
const NAME_CHARS = 40

export interface Progress extends JobObserver {
  /** Removes the bars. What is said later is printed below. */
  stop(): void
}

/** What all files together need and have. */
class Totals {
  readonly startedAt = performance.now()
  files = 0
  sizeBytes = 0
  doneFiles = 0
  doneBytes = 0
  /** The part of `doneBytes` that was not fetched now. */
  knownBytes = 0

  begin(files: readonly ListedFile[]): void {
    this.files = files.length
    this.sizeBytes = files.reduce((sum, file) => sum + file.sizeBytes, 0)
  }

  /** `1.2 GB of 16 GB  35 MB/s  420s left`. */
  text(): string {
    const elapsedMs = Math.max(1, performance.now() - this.startedAt)
    const rate = ((this.doneBytes - this.knownBytes) / elapsedMs) * 1000
    const leftBytes = Math.max(0, this.sizeBytes - this.doneBytes)
    const left = rate <= 0 ? '-' : formatSpan(Math.ceil(leftBytes / rate))
    return `${formatSize(this.doneBytes)} of ${formatSize(this.sizeBytes)}  ${formatSize(Math.round(rate))}/s  ${left} left`
  }

  /** An observer of one file that counts here, and reports each change to `shown`. */
  follow(file: ListedFile, shown: FileObserver): FileObserver {
    let counted = 0
    let isNew = true
    const count = (bytes: number): void => {
      const atMost = Math.min(bytes, file.sizeBytes)
      this.doneBytes += atMost - counted
      counted = atMost
    }
    return {
      at: (presentBytes) => {
        count(presentBytes)
        // An earlier run has left these.
        if (isNew) this.knownBytes += counted
        isNew = false
        shown.at(presentBytes)
      },
      done: (result) => {
        if (result.state === 'stored') this.knownBytes += file.sizeBytes - counted
        count(result.state === 'stored' || result.state === 'fetched' ? file.sizeBytes : 0)
        this.doneFiles += 1
        shown.done(result)
      },
    }
  }
}

/** `isQuiet` for a job that fetches nothing. */
export function createProgress({ isQuiet }: { readonly isQuiet: boolean }): Progress {
  if (isQuiet) return { say: writeLine, begin() {}, file: () => UNSEEN, stop() {} }
  return process.stderr.isTTY ? bars() : lines()
}

const UNSEEN: FileObserver = { at() {}, done() {} }

function writeLine(line: string): void {
  process.stderr.write(`${line}\n`)
}

function lines(): Progress {
  const totals = new Totals()
  let timer: NodeJS.Timeout | undefined
  const sum = (): void =>
    writeLine(`${totals.doneFiles} of ${plural(totals.files, 'file')}, ${totals.text()}`)
  return {
    say: writeLine,
    begin(files) {
      totals.begin(files)
      timer = setInterval(sum, EVERY_MS)
    },
    file: (name, file) =>
      totals.follow(file, { at() {}, done: (result) => sayDone(name, result, writeLine) }),
    stop: () => clearInterval(timer),
  }
}

/** What was stored before is not worth a line. */
function sayDone(name: string, { state, sizeBytes }: FileResult, say: (line: string) => void): void {
  if (state === 'fetched') say(`fetched ${printable(name)} (${formatSize(sizeBytes)})`)
  else if (state === 'missing') say(`missing ${printable(name)} (${formatSize(sizeBytes)})`)
}

function bars(): Progress {
  const totals = new Totals()
  const all = new MultiBar({
    format: '{bar} {percentage}%  {text}',
    barCompleteChar: '=',
    barIncompleteChar: ' ',
    // The line about the whole fits into 80 columns.
    barsize: 14,
    fps: 4,
    stream: process.stderr,
    hideCursor: true,
    clearOnComplete: true,
    gracefulExit: false,
  })
  let total: SingleBar | undefined
  const showTotal = (): void =>
    total?.update(totals.doneBytes, {
      text: `${totals.doneFiles} of ${plural(totals.files, 'file')}, ${totals.text()}`,
    })
  return {
    say(line) {
      if (total === undefined) writeLine(line)
      else all.log(`${line}\n`)
    },
    begin(files) {
      totals.begin(files)
      total = all.create(Math.max(1, totals.sizeBytes), 0, { text: '' })
      showTotal()
    },
    file(name, file) {
      let bar: SingleBar | undefined
      return totals.follow(file, {
        at(presentBytes) {
          if (file.sizeBytes >= BAR_FROM_BYTES)
            bar ??= all.create(file.sizeBytes, 0, { text: shortened(printable(name)) })
          bar?.update(Math.min(presentBytes, file.sizeBytes))
          showTotal()
        },
        done() {
          if (bar !== undefined) all.remove(bar)
          showTotal()
        },
      })
    },
    stop() {
      if (total === undefined) return
      // Lines that wait are printed by the next update.
      all.update()
      total = undefined
      all.stop()
    },
  }
}

function shortened(name: string): string {
  return name.length <= NAME_CHARS ? name : `...${name.slice(3 - NAME_CHARS)}`
}
