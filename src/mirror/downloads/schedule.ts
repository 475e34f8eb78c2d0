// Which blocks to fetch next, over how many connections. Pure: it decides, and fetches nothing.

import type { ByteRange } from '../../http/range.ts'
import type { BlockMap } from '../../store/partials/blocks.ts'

/** One request: blocks `first` (next to land) to `end`. */
export interface Run {
  readonly first: number
  readonly end: number
}

/** A request under way. */
export interface RunUnderWay extends Run {
  /** Moves the end down to `end`, or as far as that is possible: blocks that are being written stay in it. */
  shorten(end: number): void
}

/** What one reader still needs. */
export interface Want {
  /** Where the reader is now. */
  readonly position: number
  readonly range: ByteRange
}

/** One more connection for each of these: a smaller file is not worth a second one. */
const PARALLEL_FROM_BYTES = 16 * 1024 * 1024
/** Bytes of one run when there are several connections: long beside the round trip of a request, short enough to spread. */
const SEGMENT_MIN_BYTES = 8 * 1024 * 1024
const SEGMENT_MAX_BYTES = 64 * 1024 * 1024
/** A reader does not wait for a connection that is further than this from the block that the reader needs. */
const STEAL_DISTANCE_BYTES = 4 * 1024 * 1024
/** Connections beyond the configured ones, for readers that would otherwise wait for the end of a segment. */
const URGENT_EXTRA = 4

/** The most connections for one file: one more for every 16 MiB. */
export function connectionsFor(sizeBytes: number, configured: number): number {
  return Math.max(1, Math.min(configured, Math.ceil(sizeBytes / PARALLEL_FROM_BYTES)))
}

/**
 * The next run to start, or undefined when there is nothing to do or no connection free. Readers come first, each from its
 * position. With `fill` the rest of the file is wanted too. May shorten a run in `runs` that would reach a waiting reader's
 * block too late.
 */
export function nextRun(options: {
  readonly map: BlockMap
  readonly wants: readonly Want[]
  readonly fill: boolean
  readonly runs: readonly RunUnderWay[]
  readonly connections: number
}): Run | undefined {
  const { map, wants, fill, runs, connections } = options
  const segment = segmentBlocks(map, connections)
  const claimedBy = (block: number): RunUnderWay | undefined =>
    runs.find((run) => block >= run.first && block < run.end)
  for (const want of wants) {
    const urgent = map.firstMissing(map.blockAt(want.position), map.blocksOf(want.range).end)
    if (urgent === undefined) continue
    const owner = claimedBy(urgent)
    if (owner === undefined) {
      if (runs.length < connections + URGENT_EXTRA)
        return claim(map, urgent, limitOf(map, want, fill), segment, runs)
    } else if (
      (urgent - owner.first) * map.blockBytes > STEAL_DISTANCE_BYTES &&
      runs.length < connections + URGENT_EXTRA
    ) {
      const { end } = owner
      owner.shorten(urgent)
      // Otherwise it has come further than was known, and the block is about to land.
      if (owner.end <= urgent) return { first: urgent, end }
    }
  }
  if (runs.length >= connections) return undefined
  for (const want of wants) {
    const limit = limitOf(map, want, fill)
    const block = firstFree(map, map.blockAt(want.position), limit, claimedBy)
    if (block !== undefined) return claim(map, block, limit, segment, runs)
  }
  if (!fill) return undefined
  const block = firstFree(map, 0, map.count, claimedBy)
  return block === undefined ? undefined : claim(map, block, map.count, segment, runs)
}

function segmentBlocks(map: BlockMap, connections: number): number {
  if (connections === 1) return map.count
  const share = map.sizeBytes / (connections * 2)
  return Math.ceil(Math.min(SEGMENT_MAX_BYTES, Math.max(SEGMENT_MIN_BYTES, share)) / map.blockBytes)
}

function limitOf(map: BlockMap, want: Want, fill: boolean): number {
  return fill ? map.count : map.blocksOf(want.range).end
}

function firstFree(
  map: BlockMap,
  from: number,
  limit: number,
  claimedBy: (block: number) => Run | undefined,
): number | undefined {
  let block = map.firstMissing(from, limit)
  while (block !== undefined) {
    const owner = claimedBy(block)
    if (owner === undefined) return block
    block = map.firstMissing(owner.end, limit)
  }
  return undefined
}

function claim(map: BlockMap, first: number, limit: number, segment: number, runs: readonly Run[]): Run {
  const nextClaim = Math.min(limit, ...runs.filter((run) => run.first > first).map((run) => run.first))
  let end = first + 1
  while (end < nextClaim && end - first < segment && !map.has(end)) end += 1
  return { first, end }
}
