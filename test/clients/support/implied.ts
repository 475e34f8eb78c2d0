// What huggingface_hub answers of a repo to the questions of scripts/unreachable_hub.py, without the Hub as with it.

import { expect } from 'vitest'

interface Answer {
  readonly value?: unknown
  readonly raised?: readonly string[]
  readonly text?: string
  readonly waits: number
}

/** By the name of the question. */
export type Answers = Readonly<Record<string, Answer>>

/** What is not implied by a snapshot. */
export const UNKNOWN = ['unknownRepo', 'unknownRevision', 'snapshotOfUnknown'] as const

/** Fails unless each answer that a snapshot implies is that of the Hub, at once. `stored` are the ids of the models in the store. */
export function expectImplied(answers: Answers, right: Answers, stored: readonly string[]): void {
  for (const [name, { value, raised }] of Object.entries(right)) {
    if (name === 'said' || name === 'list' || (UNKNOWN as readonly string[]).includes(name)) continue
    expect({ name, value: answers[name]?.value, raised: answers[name]?.raised }).toEqual({
      name,
      value,
      raised,
    })
    expect(answers[name]?.waits, `${name}: ${answers[name]?.text}`).toBe(0)
  }
  // Of the repos that the Hub has, those that are stored.
  const { value: listed, waits } = answers['list'] ?? {}
  expect([new Set(listed as readonly string[]), waits]).toEqual([new Set(stored), 0])
  expect(answers['absentFile']?.raised).toContain('EntryNotFoundError')
  expect(answers['absentFile']?.raised).not.toContain('LocalEntryNotFoundError')
}

/** Fails unless all else is refused once by a mirror that is offline. */
export function expectUnknown(answers: Answers): void {
  for (const name of UNKNOWN) {
    expect(answers[name]?.text, name).toContain('This mirror is offline by configuration')
    expect(answers[name]?.waits, name).toBe(0)
  }
}
