// Collects the measurements, prints them as they come, and keeps them for the tables. Does not know how they were made.

import type { ContestantName } from './contestants.ts'
import type { Figure, FigureSpec, Group } from './report.ts'

/** Writes one group of figures. */
export interface GroupWriter<Id extends string> {
  /** The values of one run. Figures that mean nothing for this contestant may be left out. */
  add(name: ContestantName, values: Readonly<Partial<Record<Id, number>>>): void
  /** Why the contestant could not do the work. */
  fail(name: ContestantName, reason: string): void
  /** Ends the group: no more values come. */
  close(): void
}

/** Gets the lines as they come. */
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
          const value = run[figure]
          if (of !== undefined && value !== undefined) (of[name] ??= []).push(value)
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

  /** A contestant or a tool is not installed. The rest goes on; under CI it is a failure. */
  lack(line: string): void {
    if (process.env['CI'] === 'true') this.complain(line)
    else this.#say.complaint(line)
  }

  /** A problem that belongs to no figure. */
  complain(line: string): void {
    this.complaints.push(line)
    this.#say.complaint(line)
  }
}
