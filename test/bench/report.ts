// The measurements as they are saved and shown: groups of figures, each with the values of every run of every contestant.
// Does not know how they were measured.

import type { ContestantName } from './contestants.ts'
import { median } from './statistics.ts'

export type Unit = 's' | 'ms' | 'µs' | '/s' | 'MiB' | 'KiB' | 'x' | ''

/** A bound for the mirror's median: for its value, or for its ratio to that of nginx. */
export interface Goal {
  readonly of: 'value' | 'ratio'
  readonly atMost?: number
  readonly atLeast?: number
}

export interface FigureSpec {
  readonly title: string
  readonly unit: Unit
  readonly better: 'less' | 'more'
  readonly goal?: Goal
}

/** A figure with its values, run by run. */
export interface Figure extends FigureSpec {
  readonly id: string
  readonly values: Readonly<Partial<Record<ContestantName, readonly number[]>>>
}

/** The figures of one work. A contestant that could not do the work has a reason instead of values. */
export interface Group {
  readonly id: string
  readonly title: string
  readonly figures: readonly Figure[]
  readonly failures: Readonly<Partial<Record<ContestantName, string>>>
}

/** What the machine charged at the beginning of a run, in CPU time of one process. */
export interface Host {
  readonly systemCallUs: number
  /** A call that a thread of the pool does, and the two wake-ups that it takes. */
  readonly threadTurnUs: number
  /** From memory to memory. */
  readonly copyMsPerMib: number
  /** From the page cache, by the thread that asks, and by one of the pool. */
  readonly fileMsPerMib: number
  readonly fileThreadMsPerMib: number
  /** Sent and received over loopback. */
  readonly loopbackMsPerMib: number
  /** The load of the last minute. */
  readonly load: number
  /** The share of CPU time that a hypervisor gave to others, since the start of the machine. */
  readonly stolen: number
}

/** One run of the bench. */
export interface Report {
  /** Day, as YYYY-MM-DD. */
  readonly day: string
  readonly scale: string
  /** Duration of the run. */
  readonly seconds: number
  readonly machine: string
  /** Absent in reports that were made before it was measured. */
  readonly host?: Host
  readonly versions: Readonly<Partial<Record<ContestantName, string>>>
  readonly groups: readonly Group[]
}

export function ratioToNginx(figure: Figure): number {
  return median(figure.values.mirror ?? []) / median(figure.values.nginx ?? [])
}

/** Whether the goal is met. Returns undefined when there is no goal, or no value to compare with it. */
export function isHeld(figure: Figure): boolean | undefined {
  const { goal } = figure
  if (goal === undefined) return undefined
  const value = goal.of === 'ratio' ? ratioToNginx(figure) : median(figure.values.mirror ?? [])
  if (Number.isNaN(value)) return undefined
  return (
    value <= (goal.atMost ?? Number.POSITIVE_INFINITY) && value >= (goal.atLeast ?? Number.NEGATIVE_INFINITY)
  )
}

/** The report as JSON: four digits of each value, and the values of a contestant on one line. */
export function reportText(report: Report): string {
  const text = JSON.stringify(
    report,
    (_, value: unknown) => (typeof value === 'number' ? Number(value.toPrecision(4)) : value),
    2,
  )
  return `${text.replace(/\[\s+([-+\d.e,\s]+?)\s+\]/g, (_, list: string) => `[${list.replace(/\s+/g, ' ')}]`)}\n`
}
