// `hubmirror export`: writes what is stored of a repo into a cache directory of huggingface_hub, for use without any network.
// It reads the store without the lock, so that a mirror may be running, and never asks the Hub.

import type { Config } from '../config/keys.ts'
import { pathFilter } from '../hub/file-patterns.ts'
import { createLayout, type Layout } from '../store/layout.ts'
import { requireStore } from '../store/prepare.ts'
import { withTable } from '../store/table/table.ts'
import type { BundledFile } from './bundle/manifest.ts'
import { findStored, NotStored, withSmallBytes } from './bundle/stored-repos.ts'
import { type BytesSource, CacheWriter, Conflict } from './hub-cache/cache-writer.ts'
import { isOneOf, runOverStore } from './interruptible.ts'
import type { Wanted } from './prefetch/listing.ts'
import { formatRepo } from './repo-argument.ts'
import { formatSize, plural, printable } from './store-output.ts'

/** The options of the command line. */
export interface ExportOptions {
  readonly wanted: Wanted
  readonly directory: string
  readonly include: readonly string[]
  readonly exclude: readonly string[]
  readonly copies: boolean
  readonly withPrivate: boolean
  readonly json: boolean
}

interface Failed {
  readonly path: string
  readonly reason: string
}

interface Result {
  readonly commit: string
  readonly written: readonly BundledFile[]
  readonly there: readonly BundledFile[]
  readonly failed: readonly Failed[]
}

/** Resolves with the exit status: 0 if the directory has all files, 1 if not, and 130 after SIGINT or SIGTERM. */
export function runExport(config: Config, options: ExportOptions): Promise<number> {
  const work = async (signal: AbortSignal): Promise<number> => {
    const result = await exportRepo(config, options, signal)
    process.stdout.write(options.json ? formatJson(result, options) : formatText(result, options))
    return result.failed.length === 0 ? 0 : 1
  }
  return runOverStore(work, {
    cacheDir: config.cacheDir,
    isExplained: isOneOf([NotStored, Conflict]),
    left: 'run the command again to go on',
  })
}

async function exportRepo(config: Config, options: ExportOptions, signal: AbortSignal): Promise<Result> {
  const { wanted, withPrivate, directory, copies } = options
  const layout = createLayout(config.cacheDir)
  await requireStore(layout)
  const isMeant = pathFilter(options.include, options.exclude)
  const { files, documents, refs } = await withTable(layout.facts, { readOnly: true }, (table) =>
    findStored(table, { config, wanted: [wanted], isMeant, withPrivate }),
  )
  const commit = documents.find(({ row }) => row.commit !== undefined)?.row.commit ?? ''
  const [written, there, failed]: [BundledFile[], BundledFile[], Failed[]] = [[], [], []]
  const writer = await CacheWriter.open(directory, wanted.repo, { copies })
  try {
    for await (const { item: file, small } of withSmallBytes(layout, files)) {
      signal.throwIfAborted()
      const outcome = await conflictOr(() => writer.write(file, sourceOf(layout, file, small)))
      if (outcome === 'written') written.push(file)
      else if (outcome === 'there') there.push(file)
      else failed.push({ path: file.path, reason: reasonOf(outcome, wanted) })
    }
    if (failed.length === 0)
      for (const ref of refs) if (ref.commit === commit) await writer.point(ref.revision, ref.commit)
  } finally {
    await writer.close()
  }
  return { commit, written, there, failed }
}

async function conflictOr<T>(work: () => Promise<T>): Promise<T | Conflict> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof Conflict) return error
    throw error
  }
}

/** Where the bytes of a file are. A file of the store may be gone when it is opened. */
function sourceOf(layout: Layout, { key, sizeBytes }: BundledFile, small: Buffer | undefined): BytesSource {
  if (sizeBytes === 0) return { bytes: Buffer.alloc(0) }
  return small === undefined ? { file: layout.blob(key) } : { bytes: small }
}

function reasonOf(outcome: 'missing' | 'damaged' | Conflict, { repo, revision }: Wanted): string {
  if (outcome instanceof Conflict) return outcome.message
  const fetch = `hubmirror prefetch ${formatRepo(repo)}@${revision}`
  return outcome === 'missing'
    ? `not stored; fetch it first: ${fetch}`
    : `damaged in the store; remove it by hubmirror verify, and fetch it again: ${fetch}`
}

function formatText(
  { commit, written, there, failed }: Result,
  { wanted, directory }: ExportOptions,
): string {
  const all = [...written, ...there]
  const head =
    `${formatRepo(wanted.repo)}@${printable(wanted.revision)} (${commit.slice(0, 7)}) in ${printable(directory)}: ` +
    `${plural(written.length, 'file')} written, ${there.length} there before; ${formatSize(sizeOf(all))} in all\n`
  return (
    head + failed.map(({ path, reason }) => `  missing: ${printable(path)}: ${printable(reason)}\n`).join('')
  )
}

function formatJson(
  { commit, written, there, failed }: Result,
  { wanted, directory }: ExportOptions,
): string {
  const sum = (files: readonly BundledFile[]) => ({ files: files.length, sizeBytes: sizeOf(files) })
  const value = {
    repo: formatRepo(wanted.repo),
    revision: wanted.revision,
    commit,
    directory,
    complete: failed.length === 0,
    written: sum(written),
    there: sum(there),
    missing: failed,
  }
  return `${JSON.stringify(value, null, 2)}\n`
}

function sizeOf(files: readonly BundledFile[]): number {
  return files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
}
