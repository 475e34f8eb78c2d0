// `hubmirror verify`: compares the digest of every stored blob with its name. It shows a progress bar, and records its
// position so that an interrupted run can be resumed. A mirror may be running. It repairs nothing: damaged blobs are moved
// away, and the mirror fetches them again.

import path from 'node:path'
import { SingleBar } from 'cli-progress'
import type { Config } from '../config/keys.ts'
import { removeBlockMap } from '../store/blobs/quarantine.ts'
import type { Damage } from '../store/damage.ts'
import type { BlobKey } from '../store/digest.ts'
import { createLayout, type Layout } from '../store/layout.ts'
import { readBlockMap } from '../store/partials/block-map.ts'
import { requireStore } from '../store/prepare.ts'
import { type ScrubReport, scrub } from '../store/upkeep/scrub.ts'
import {
  clearPosition,
  readPosition,
  type ScrubPosition,
  writePosition,
} from '../store/upkeep/scrub-position.ts'
import {
  smallBlobsOf,
  statAll,
  statFile,
  walkBlobs,
  walkPartials,
  walkSmallBlobs,
} from '../store/upkeep/walk.ts'
import { actAsMirrorUser } from './act-as.ts'
import { type ActLog, openActLog } from './audit.ts'
import { INTERRUPTED, interruptible } from './interruptible.ts'
import { notifyMirror } from './notify-mirror.ts'
import { formatSize, formatSpan, overStore, plural } from './store-output.ts'

const RECORD_EVERY_MS = 5_000

/** The options of the command line. */
export interface VerifyOptions {
  readonly rateBytesPerSecond?: number | undefined
  /** Start from the beginning, and ignore the position of an earlier run. */
  readonly restart: boolean
  readonly json: boolean
}

/**
 * Prints each damage to stderr when it is found, and the result to stdout. Resolves with the exit status: 0 without damage,
 * 1 with damage or with a blob that could not be read, and 130 after SIGINT or SIGTERM; the next run resumes there.
 */
export function runVerify(config: Config, options: VerifyOptions): Promise<number> {
  return overStore(config, async () => {
    const layout = createLayout(config.cacheDir)
    await requireStore(layout)
    await actAsMirrorUser(config.cacheDir)
    if (options.restart) await clearPosition(layout, 'verify')
    const before = await readPosition(layout, 'verify')
    return interruptible(async (signal) => {
      const log = await openActLog(config)
      try {
        const keepsSums = config.checkReadsMs !== undefined
        const { cacheDir } = config
        return await verify(layout, { ...options, cacheDir, keepsSums, before, signal, log })
      } finally {
        log.close()
      }
    })
  })
}

async function verify(
  layout: Layout,
  options: VerifyOptions & {
    readonly cacheDir: string
    readonly keepsSums: boolean
    readonly before: ScrubPosition | undefined
    readonly signal: AbortSignal
    readonly log: ActLog
  },
): Promise<number> {
  const { before, signal } = options
  const startedAt = before?.startedAt ?? Date.now()
  const bar = await startBar(layout, before)
  const { say } = bar
  const found: Damage[] = []
  let recordedAt = Number.NEGATIVE_INFINITY
  let report: ScrubReport
  try {
    report = await scrub(layout, {
      rateBytesPerSecond: options.rateBytesPerSecond,
      keepsSums: options.keepsSums,
      readsFacts: true,
      smallBlobs: smallBlobsOf(layout),
      signal,
      from: before?.after,
      onBytes: bar.advance,
      async onBlob(progress) {
        if (performance.now() - recordedAt < RECORD_EVERY_MS) return
        recordedAt = performance.now()
        await record(layout, before, progress, startedAt)
      },
      onDamaged(damage) {
        found.push(damage)
        if (damage.place === 'quarantined') options.log.act('verify', { ...damage })
        say(describe(damage))
      },
      onRefused: (key, error) =>
        say(`not read: ${key} (${error instanceof Error ? error.message : 'unknown'})`),
    })
  } finally {
    bar.stop()
  }
  const gone = found.filter(({ place }) => place === 'quarantined')
  // Until a client asks for them, the mirror would count them as stored.
  if (gone.length > 0) await notifyMirror(options.cacheDir, { blobs: gone, gits: [] }, 'hubmirror-verify')
  if (report.finished) await clearPosition(layout, 'verify')
  else await record(layout, before, report, startedAt)
  const partials = report.finished
    ? await checkPartials(layout, say, options.log)
    : { partials: 0, damagedPartials: 0 }
  const result = {
    finished: report.finished,
    resumed: before !== undefined,
    ...sum(before, report),
    ...partials,
    found,
  }
  process.stdout.write(options.json ? `${JSON.stringify(result, null, 2)}\n` : formatResult(result))
  if (!report.finished) return INTERRUPTED
  return result.damaged + result.refused + result.damagedPartials > 0 ? 1 : 0
}

type Counts = Pick<ScrubReport, 'blobs' | 'sizeBytes' | 'damaged' | 'refused'>

/** The counts of the whole pass: those of earlier runs plus those of this run. */
function sum(before: ScrubPosition | undefined, report: ScrubReport): Counts {
  return {
    blobs: (before?.blobs ?? 0) + report.blobs,
    sizeBytes: (before?.sizeBytes ?? 0) + report.sizeBytes,
    damaged: (before?.damaged ?? 0) + report.damaged,
    refused: (before?.refused ?? 0) + report.refused,
  }
}

async function record(
  layout: Layout,
  before: ScrubPosition | undefined,
  report: ScrubReport,
  startedAt: number,
): Promise<void> {
  if (report.last === undefined) return
  // On a full disk the position is lost, but the pass continues.
  await writePosition(layout, 'verify', { after: report.last, startedAt, ...sum(before, report) }).catch(
    () => undefined,
  )
}

/** Removes block maps that cannot be read. The bytes of such a partial are useless, so the next download starts over. */
async function checkPartials(
  layout: Layout,
  say: (line: string) => void,
  log: ActLog,
): Promise<{ readonly partials: number; readonly damagedPartials: number }> {
  let [partials, damagedPartials] = [0, 0]
  for await (const key of walkPartials(layout)) {
    const file = path.join(layout.partial(key), 'blocks')
    const data = await statFile(path.join(layout.partial(key), 'data'))
    // Without data, the partial has just become a blob. Without a map, it was just created.
    if (data === undefined || (await statFile(file)) === undefined) continue
    partials += 1
    if ((await readBlockMap(file, data.sizeBytes)) !== undefined) continue
    if (!(await removeBlockMap(layout, key, data.sizeBytes))) continue
    damagedPartials += 1
    log.act('verify', { key, reason: 'unreadable', place: 'map-removed' })
    say(`damaged: the map of blocks of partial ${key}; removed; the next download starts from the beginning`)
  }
  return { partials, damagedPartials }
}

const REASONS = {
  digest: 'does not have the digest in its name',
  length: 'does not have the length in its fact',
  block: 'does not have the bytes that were stored',
  unreadable: 'cannot be read from the disk',
} as const satisfies Record<Damage['reason'], string>

const PLACES = {
  quarantined: 'moved to quarantine',
  'in-place': 'it could not be moved; remove it by hand',
  replaced: 'another file has replaced it in the meantime',
} as const satisfies Record<Damage['place'], string>

function describe({ key, sizeBytes, reason, place }: Damage): string {
  return `damaged: ${key} (${formatSize(sizeBytes)}) ${REASONS[reason]}; ${PLACES[place]}`
}

function formatResult(
  result: Counts & {
    readonly finished: boolean
    readonly resumed: boolean
    readonly damagedPartials: number
  },
): string {
  const parts = [
    `${result.finished ? 'verified' : 'interrupted after'} ${plural(result.blobs, 'blob')}, ${formatSize(result.sizeBytes)}`,
    result.damaged === 0 ? 'no damage' : `${result.damaged} damaged`,
  ]
  if (result.resumed) parts.push('including the work of an earlier run')
  if (result.refused > 0) parts.push(`${result.refused} not read`)
  if (result.damagedPartials > 0) parts.push(`${plural(result.damagedPartials, 'unfinished blob')} given up`)
  if (!result.finished) parts.push('the next run continues here')
  return `${parts.join('; ')}\n`
}

interface Bar {
  readonly advance: (bytes: number) => void
  /** Prints a line that stays. The bar, until it is stopped, reappears below it. */
  readonly say: (line: string) => void
  readonly stop: () => void
}

const WIPE = '\r\u001b[K'
/** The bar switches line wrap off for itself. A line that stays needs it, to be readable to its end. */
const [WRAP, NO_WRAP] = ['\u001b[?7h', '\u001b[?7l']
/** At its end the bar moves the cursor to the saved position. After a line that stays, this is one line further down. */
const SAVE_CURSOR = '\u001b7'

/** Starts a progress bar on stderr if that is a terminal. In a pipe or a log file, it would only be noise. */
async function startBar(layout: Layout, before: ScrubPosition | undefined): Promise<Bar> {
  if (!process.stderr.isTTY)
    return { advance() {}, say: (line) => void process.stderr.write(`${line}\n`), stop() {} }
  let totalBytes = before?.sizeBytes ?? 0
  const keys: AsyncIterable<BlobKey> = walkBlobs(layout, before?.after)
  for await (const [, stats] of statAll(keys, (key) => layout.blob(key))) totalBytes += stats?.sizeBytes ?? 0
  for await (const { sizeBytes } of walkSmallBlobs(layout, before?.after)) totalBytes += sizeBytes
  const bar = new SingleBar({
    format: '{bar} {percentage}%  {done} of {all}  {rate}  {left} left',
    barCompleteChar: '=',
    barIncompleteChar: ' ',
    barsize: 24,
    fps: 4,
    stream: process.stderr,
    hideCursor: true,
    gracefulExit: false,
  })
  const from = before?.sizeBytes ?? 0
  const startedAt = performance.now()
  let doneBytes = from
  let isShown = true
  const payload = () => {
    const rate = ((doneBytes - from) / Math.max(1, performance.now() - startedAt)) * 1000
    const seconds = rate === 0 ? 0 : Math.ceil(Math.max(0, totalBytes - doneBytes) / rate)
    const left = rate === 0 ? '-' : formatSpan(seconds)
    return {
      done: formatSize(doneBytes),
      all: formatSize(totalBytes),
      rate: `${formatSize(Math.round(rate))}/s`,
      left,
    }
  }
  bar.start(Math.max(1, totalBytes), doneBytes, payload())
  return {
    advance(bytes) {
      doneBytes += bytes
      bar.update(doneBytes, payload())
    },
    say: (line) =>
      void process.stderr.write(isShown ? `${WIPE}${WRAP}${line}\n${NO_WRAP}${SAVE_CURSOR}` : `${line}\n`),
    stop() {
      isShown = false
      bar.stop()
    },
  }
}
