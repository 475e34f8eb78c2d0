// `hubmirror prune`: removes stored content by repo, age or size, without confirmation, and prints what it removed. A mirror
// may be running. The decisions are in store/upkeep/prune.ts.

import { ConfigFaults } from '../config/faults.ts'
import type { Config } from '../config/keys.ts'
import { readPins } from '../config/pins-file.ts'
import { byPin, claim } from '../pins/claims.ts'
import type { BlobKey } from '../store/digest.ts'
import { createLayout } from '../store/layout.ts'
import { readPinnedCommits } from '../store/pinned-commits.ts'
import { requireStore } from '../store/prepare.ts'
import { type Inventory, parseOwner, takeInventory } from '../store/upkeep/inventory.ts'
import { addTo, carryOut, type Pruned, type PrunePlan, planPrune } from '../store/upkeep/prune.ts'
import { actAsMirrorUser } from './act-as.ts'
import { openActLog } from './audit.ts'
import { notifyMirror } from './notify-mirror.ts'
import { formatColumns, formatSize, overStore, plural, repoMatcher } from './store-output.ts'

/** The options of the command line. The caller has checked that they select something. */
export interface PruneOptions {
  readonly repos: readonly string[]
  readonly olderThanMs?: number | undefined
  readonly maxBytes?: number | undefined
  readonly unclaimed: boolean
  /** Also what is pinned. */
  readonly pinned: boolean
  readonly dryRun: boolean
  readonly json: boolean
}

/**
 * Removes the selected content and prints the result to stdout. Resolves with the exit status: 1 if there is no store or if
 * a named repo is unknown; in these cases nothing is removed. 1 as well if a running mirror could not be informed.
 */
export function runPrune(config: Config, options: PruneOptions): Promise<number> {
  return overStore(config, async () => {
    const layout = createLayout(config.cacheDir)
    await requireStore(layout)
    await actAsMirrorUser(config.cacheDir)
    const inventory = await takeInventory(layout)
    const owners = ownersOf(inventory, options.repos)
    if (owners.unknown.length > 0) {
      const names = owners.unknown.join(', ')
      process.stderr.write(
        `hubmirror: nothing is known of ${names}; nothing was removed (see hubmirror ls)\n`,
      )
      return 1
    }
    const selection = {
      unclaimed: options.unclaimed,
      ...(options.repos.length > 0 && { owners: owners.known }),
      ...(options.olderThanMs !== undefined && { olderThanMs: options.olderThanMs }),
      ...(options.maxBytes !== undefined && { maxBytes: options.maxBytes }),
      ...(!options.pinned && { pinned: await pinnedKeys(config) }),
    }
    const plan = planPrune(inventory, selection, Date.now())
    const pruned = options.dryRun ? preview(plan) : await recorded(config, () => carryOut(layout, plan))
    process.stdout.write(options.json ? formatJson(plan, pruned, options) : formatText(plan, pruned, options))
    const { victims, gits } = plan
    const removed = { blobs: victims.map(({ entry }) => entry), gits: gits.map(({ owner }) => owner) }
    return options.dryRun || (await notifyMirror(config.cacheDir, removed, 'hubmirror-prune')) ? 0 : 1
  })
}

/** The blobs that the settings pin. Rejects with ConfigFaults if the file of pins is wrong. */
async function pinnedKeys({ pins: path, cacheDir }: Config): Promise<ReadonlySet<BlobKey>> {
  if (path === undefined) return new Set()
  const read = readPins(path)
  if ('faults' in read) throw new ConfigFaults(read.faults)
  const pinned = await readPinnedCommits(cacheDir)
  return pinned === 'damaged' ? new Set() : claim(read.file, byPin(pinned), undefined).keys
}

/** Runs `work` and writes its result to the audit log: one line for each repo. */
async function recorded(config: Config, work: () => Promise<Pruned>): Promise<Pruned> {
  const log = await openActLog(config)
  try {
    const pruned = await work()
    for (const { origin = null, repo = null, blobs, sizeBytes } of rowsOf(pruned))
      log.act('prune', { origin, repo, blobs, sizeBytes })
    return pruned
  } finally {
    log.close()
  }
}

function ownersOf(
  inventory: Inventory,
  names: readonly string[],
): { readonly known: ReadonlySet<string>; readonly unknown: readonly string[] } {
  const known = new Set<string>()
  const unknown: string[] = []
  for (const name of names) {
    const matches = repoMatcher(name)
    const found = [...inventory.holdings].filter(([, holding]) => matches(holding.repo))
    if (found.length === 0) unknown.push(name)
    for (const [owner] of found) known.add(owner)
  }
  return { known, unknown }
}

/** The result that carrying out the plan would have. */
function preview(plan: PrunePlan): Pruned {
  const removed = new Map<string | undefined, { blobs: number; sizeBytes: number }>()
  for (const { entry, owner } of plan.victims) addTo(removed, owner, { blobs: 1, sizeBytes: entry.sizeBytes })
  for (const { owner, sizeBytes } of plan.gits) addTo(removed, owner, { blobs: 0, sizeBytes })
  return { removed, gits: plan.gits.length, facts: 0, skipped: 0 }
}

function rowsOf(pruned: Pruned) {
  return [...pruned.removed]
    .map(([owner, sum]) => ({ ...(owner === undefined ? undefined : parseOwner(owner)), ...sum }))
    .sort((a, b) => b.sizeBytes - a.sizeBytes)
}

function totalOf(pruned: Pruned): { readonly blobs: number; readonly sizeBytes: number } {
  const sums = [...pruned.removed.values()]
  return {
    blobs: sums.reduce((sum, { blobs }) => sum + blobs, 0),
    sizeBytes: sums.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
  }
}

function formatJson(plan: PrunePlan, pruned: Pruned, options: PruneOptions): string {
  const repos = rowsOf(pruned).map(({ origin = null, repo = null, ...sums }) => ({ origin, repo, ...sums }))
  const { gits: gitClones, facts, skipped: passedOver } = pruned
  const removed = { ...totalOf(pruned), gitClones, facts, repos }
  return `${JSON.stringify({ dryRun: options.dryRun, removed, kept: plan.kept, pinned: plan.pinned, passedOver }, null, 2)}\n`
}

function formatText(plan: PrunePlan, pruned: Pruned, options: PruneOptions): string {
  const lines = rowsOf(pruned).map((row) => [
    formatSize(row.sizeBytes),
    plural(row.blobs, 'blob'),
    row.repo ?? '(unclaimed)',
  ])
  const total = totalOf(pruned)
  const verb = options.dryRun ? 'would remove' : 'removed'
  const clones = pruned.gits === 0 ? '' : ` and ${plural(pruned.gits, 'git clone')}`
  const parts = [`${verb} ${plural(total.blobs, 'blob')}${clones}, ${formatSize(total.sizeBytes)}`]
  if (plan.kept.blobs > 0) {
    const verb = plan.kept.blobs === 1 ? 'stays' : 'stay'
    parts.push(
      `${plural(plan.kept.blobs, 'blob')} (${formatSize(plan.kept.sizeBytes)}) ${verb} for other repos`,
    )
  }
  if (plan.pinned.blobs > 0) {
    const verb = plan.pinned.blobs === 1 ? 'is' : 'are'
    parts.push(
      `${plural(plan.pinned.blobs, 'blob')} (${formatSize(plan.pinned.sizeBytes)}) ${verb} pinned and ${verb === 'is' ? 'stays' : 'stay'} (--pinned removes such blobs, too)`,
    )
  }
  if (pruned.skipped > 0) parts.push(`${pruned.skipped} skipped: used in the meantime, or already removed`)
  return `${formatColumns(lines, [0, 1])}${parts.join('; ')}\n`
}
