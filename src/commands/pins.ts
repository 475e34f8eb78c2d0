// `hubmirror pins`: what the file of pins wants against what is stored. A running mirror says it, because it knows what it has
// seen at the Hub and what went wrong. Without one, the command looks at the store.

import type { Config } from '../config/keys.ts'
import { readPins } from '../config/pins-file.ts'
import { byPin, claim } from '../pins/claims.ts'
import { type PinReport, type PinsReport, reportOf } from '../pins/report.ts'
import { parseRecord } from '../records.ts'
import { PINS_ROUTE } from '../server/control.ts'
import { createLayout } from '../store/layout.ts'
import { readPinnedCommits } from '../store/pinned-commits.ts'
import { requireStore } from '../store/prepare.ts'
import { takeInventory } from '../store/upkeep/inventory.ts'
import { askMirror, isUnasked, MirrorFailed } from './prefetch/ask-mirror.ts'
import type { Reply } from './prefetch/control-client.ts'
import { MirrorSilent } from './prefetch/silence.ts'
import { formatSize, overStore, plural, printable } from './store-output.ts'

type WithPins = Config & { readonly pins: string }

/** Prints the report to stdout. Resolves with the exit status: with `check`, 1 if a pin is behind. */
export function runPins(
  config: WithPins,
  { check, json, version }: { readonly check: boolean; readonly json: boolean; readonly version: string },
): Promise<number> {
  return overStore(config, async () => {
    try {
      const beside = await askForReport(config.cacheDir, version)
      const report = beside ?? (await lookAtStore(config))
      process.stdout.write(
        json
          ? `${JSON.stringify({ mirror: beside !== undefined, ...report }, null, 2)}\n`
          : format(report, { isBeside: beside !== undefined }),
      )
      return check && !(report.complete && !report.faulty) ? 1 : 0
    } catch (error) {
      if (!isUnasked(error)) throw error
      const more =
        error instanceof MirrorSilent ? '. What pins keep stays stored, and nothing is fetched' : ''
      process.stderr.write(`hubmirror: ${error.message}${more}\n`)
      return 1
    }
  })
}

/** What the mirror says that has the store open; undefined if none runs. */
async function askForReport(cacheDir: string, version: string): Promise<PinsReport | undefined> {
  const names = { version, program: 'hubmirror-pins' }
  const [reply] = (await askMirror(cacheDir, [PINS_ROUTE], { ...names, isDone: isReport })) ?? []
  if (reply?.status === 404)
    throw new MirrorFailed(
      'the mirror that has this store open was started without a file of pins. Start it again with HUBMIRROR_PINS',
    )
  // The mirror is of this version: it lies in the same package, or says so in its answer.
  return reply && (parseRecord(reply.text) as unknown as PinsReport)
}

/** Whether a mirror has answered with a report, or has no pins. */
function isReport({ status, text }: Reply): boolean {
  return status === 404 || (status === 200 && Array.isArray(parseRecord(text)?.['pins']))
}

async function lookAtStore({ pins: path, cacheDir, cacheMaxSizeBytes }: WithPins): Promise<PinsReport> {
  const read = readPins(path)
  const file = 'file' in read ? read.file : { bandwidth: undefined, pins: [] }
  const layout = createLayout(cacheDir)
  await requireStore(layout)
  const pinned = await readPinnedCommits(cacheDir)
  const { entries } = await takeInventory(layout)
  const stored = new Set(entries.filter(({ kind }) => kind === 'blob').map(({ key }) => key))
  const known = byPin(pinned === 'damaged' ? new Map() : pinned)
  return reportOf({
    file,
    known,
    claims: claim(file, known, cacheMaxSizeBytes),
    faulty: 'faults' in read,
    limitBytes: cacheMaxSizeBytes,
    isStored: (key) => stored.has(key),
    troubleOf: () => undefined,
    nextRunAt: () => undefined,
  })
}

function format(report: PinsReport, { isBeside }: { readonly isBeside: boolean }): string {
  const behind = report.pins.filter((pin) => pin.behind).length
  const limit = report.limitBytes === null ? '' : ` of ${formatSize(report.limitBytes)}`
  const parts = [
    `${plural(report.pins.length, 'pin')}, ${behind === 0 ? 'all complete' : `${behind} behind`}`,
    `${formatSize(report.keptBytes)}${limit} are kept`,
    ...(report.faulty ? ['the file has a fault, and the last good one counts; see the log'] : []),
    ...(isBeside ? [] : ['no mirror is running, so nothing is fetched']),
  ]
  return `${report.pins.map(formatPin).join('')}${parts.join('; ')}\n`
}

function formatPin(pin: PinReport): string {
  const next = pin.nextRunAt === null ? '' : `; next look ${pin.nextRunAt.replace(/\.\d+Z$/, 'Z')}`
  const state = pin.behind ? `behind (${pin.reason ?? ''}): ${printable(pin.message ?? '')}` : 'complete'
  const name = `${pin.repo}@${pin.revisions.map(printable).join(',')}`
  const at = pin.at.map(({ revision, commit, pastCommits, files, sizeBytes, missing }) => {
    const past = pastCommits === 0 ? '' : `, ${plural(pastCommits, 'earlier commit')} kept`
    const lack =
      missing.files === 0
        ? ''
        : `; ${plural(missing.files, 'file')} (${formatSize(missing.sizeBytes)}) missing`
    return `  ${printable(revision)} (${commit.slice(0, 7)}): ${plural(files, 'file')}, ${formatSize(sizeBytes)}${past}${lack}\n`
  })
  return `${name}: ${state}${next}\n${at.join('')}`
}
