// `hubmirror import`: brings files that a client has downloaded before into the store, through the running mirror or the store that this
// process opens. Where the mirror can learn from the Hub what a commit consists of, that is what files are compared with.

import type { Config } from '../config/keys.ts'
import { type CommitHash, type Repo, repoKey } from '../hub/names.ts'
import { UnusableControlSocket } from '../store/control-socket.ts'
import { LocksUnsupported } from '../store/lock.ts'
import { IntakeClient, Refused, StoreFull } from './bundle/intake-client.ts'
import { unlessAborted } from './endless-calls.ts'
import { type ImportedFile, type ImportedSnapshot, importSnapshot } from './import/job.ts'
import { NothingToImport, type Scan, scan } from './import/scan.ts'
import { isOneOf, runOverStore } from './interruptible.ts'
import { ControlClient } from './prefetch/control-client.ts'
import { reachMirror } from './prefetch/reach.ts'
import { MirrorGone } from './prefetch/silence.ts'
import { formatSize, plural, printable } from './store-output.ts'

/** The options of the command line. */
export interface ImportCommandOptions {
  readonly directory: string
  readonly repo: Repo | undefined
  readonly commit: CommitHash | undefined
  readonly isPublic: boolean
  readonly isWhole: boolean
  readonly dryRun: boolean
  readonly json: boolean
  readonly version: string
  /** The Hub token, or mirror token, of the user who runs the command. */
  readonly token: string | undefined
}

/** Resolves with the exit status: 0 if all that was found is stored, 1 if not, and 130 after SIGINT or SIGTERM. */
export function runImport(config: Config, options: ImportCommandOptions): Promise<number> {
  return runOverStore((signal) => importAll(config, options, signal), {
    cacheDir: config.cacheDir,
    isExplained: isOneOf(EXPLAINED),
    left: 'what was imported stays, and the next run goes on there',
  })
}

/** Failures that a sentence explains. */
const EXPLAINED = [NothingToImport, Refused, MirrorGone, UnusableControlSocket, LocksUnsupported]

async function importAll(
  config: Config,
  options: ImportCommandOptions,
  signal: AbortSignal,
): Promise<number> {
  const { directory, version, json } = options
  const say = (line: string): void => void process.stderr.write(`${printable(line)}\n`)
  const found = await unlessAborted(signal, () => scan(directory, options))
  if (found.snapshots.length === 0 && found.skipped.length === 0)
    throw new NothingToImport(`there are no files of a repo in ${directory}`)
  const reached = await reachMirror(config, { version, say, signal })
  const control = new ControlClient(reached.socketPath, { ...options, watch: reached.watch })
  const intake = new IntakeClient(reached.socketPath, signal, reached.watch)
  const results: ImportedSnapshot[] = []
  const print = (): void =>
    void process.stdout.write(json ? formatJson(results, found) : formatText(results, found, options))
  try {
    for (const snapshot of found.snapshots)
      results.push(await importSnapshot(snapshot, { ...options, control, intake, signal, say }))
    print()
    const isAll = results.every(({ files }) => files.every(({ state }) => state !== 'refused'))
    return isAll && found.skipped.length === 0 ? 0 : 1
  } catch (error) {
    // What it says ends the import, and what is complete until then stays.
    if (error instanceof StoreFull && results.length > 0) print()
    throw error
  } finally {
    control.close()
    await reached.close()
  }
}

function formatText(
  results: readonly ImportedSnapshot[],
  { skipped }: Scan,
  { dryRun }: { readonly dryRun: boolean },
): string {
  const lines = results.flatMap((result) => {
    const of = (state: ImportedFile['state']): string => {
      const files = result.files.filter((file) => file.state === state)
      return `${files.length} (${formatSize(sizeOf(files))})`
    }
    const name = `${repoKey(result.repo)}@${result.commit.slice(0, 7)}`
    const refused = result.files.filter(({ state }) => state === 'refused')
    const counts = [
      `${of('stored')} stored before`,
      `${of('imported')} ${dryRun ? 'to import' : 'imported'}`,
      ...(refused.length > 0 ? [`${refused.length} refused`] : []),
    ]
    return [
      `${name}: ${plural(result.files.length, 'file')}; ${counts.join(', ')}`,
      ...notesOf(result),
      ...byReason(refused.map(({ path, reason = '' }) => ({ name: path, reason }))),
    ]
  })
  const left = byReason(skipped.map(({ file, reason }) => ({ name: file, reason })))
  return [...lines, ...left].map((line) => `${line}\n`).join('')
}

/** The names below their reason: many files are often refused for the same one. */
function byReason(rows: readonly { readonly name: string; readonly reason: string }[]): readonly string[] {
  const reasons = new Map<string, string[]>()
  for (const { name, reason } of rows)
    reasons.set(reason, [...(reasons.get(reason) ?? []), `    ${printable(name)}`])
  return [...reasons].flatMap(([reason, names]) => [`  refused: ${printable(reason)}`, ...names])
}

function notesOf({ by, isListed }: ImportedSnapshot): readonly string[] {
  const readers: Readonly<Record<ImportedSnapshot['by'], readonly string[]>> = {
    hub: [],
    none: [],
    operator: ['  public on your word: every caller of this mirror may read it'],
    rule: ['  the callers may read it whom a serve-stored rule names'],
  }
  const listed =
    isListed || by === 'none'
      ? []
      : [
          '  clients can read these files by their names only, because no list of the commit is known; give --whole if this is all of it',
        ]
  return [...readers[by], ...listed]
}

function formatJson(results: readonly ImportedSnapshot[], { skipped }: Scan): string {
  const repos = results.map(({ repo, commit, by, isListed, files }) => {
    const sum = (state: ImportedFile['state']) => {
      const some = files.filter((file) => file.state === state)
      return { files: some.length, sizeBytes: sizeOf(some) }
    }
    return {
      repo: repoKey(repo),
      commit,
      by,
      listed: isListed,
      stored: sum('stored'),
      imported: sum('imported'),
      refused: files
        .filter(({ state }) => state === 'refused')
        .map(({ path, reason = '' }) => ({ path, reason })),
    }
  })
  return `${JSON.stringify({ repos, skipped }, null, 2)}\n`
}

function sizeOf(files: readonly ImportedFile[]): number {
  return files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
}
