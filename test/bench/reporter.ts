// Collects what is measured, says it as it comes, and keeps it for the tables. Knows nothing of how it came about.

import type { ContestantName } from './contestants.ts'
import type { Figure, FigureSpec, Group } from './report.ts'

/** Writes one group of figures. */
export interface GroupWriter<Id extends string> {
  /** The values of one run. */
  add(name: ContestantName, values: Readonly<Record<Id, number>>): void
  /** What kept it from doing the work. */
  fail(name: ContestantName, reason: string): void
  /** Nothing more comes. */
  close(): void
}

/** Who hears of it at once. */
export interface Say {
  group(group: Group): void
  complaint(line: string): void
}

export class Reporter {
  readonly groups: Group[] = []
  readonly complaints: string[] = []
  readonly #say: Say

  constructor(say: Say) {
    this.#say = say
  }

  group<Id extends string>(
    id: string,
    title: string,
    specs: Readonly<Record<Id, FigureSpec>>,
  ): GroupWriter<Id> {
    const values = new Map<Id, Partial<Record<ContestantName, number[]>>>()
    const failures: Partial<Record<ContestantName, string>> = {}
    const ids = Object.keys(specs) as Id[]
    for (const figure of ids) values.set(figure, {})
    return {
      add: (name, run) => {
        for (const figure of ids) {
          const of = values.get(figure)
          if (of !== undefined) (of[name] ??= []).push(run[figure])
        }
      },
      fail: (name, reason) => {
        failures[name] = reason
        this.complain(`${title}: ${name}: ${reason}`)
      },
      close: () => {
        const figures: Figure[] = ids.map((figure) => ({
          id: figure,
          ...specs[figure],
          values: values.get(figure) ?? {},
        }))
        const group = { id, title, figures, failures }
        this.groups.push(group)
        this.#say.group(group)
      },
    }
  }

  /** Something to measure with is not installed: the rest goes on, and under CI that is a failure. */
  lack(line: string): void {
    if (process.env['CI'] === 'true') this.complain(line)
    else this.#say.complaint(line)
  }

  /** What went wrong beside the figures. */
  complain(line: string): void {
    this.complaints.push(line)
    this.#say.complaint(line)
  }
}
