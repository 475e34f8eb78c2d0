import { expect, it } from 'vitest'
import { parsePins, pinId } from '../../../src/config/pins-file.ts'
import { claim } from '../../../src/pins/claims.ts'

it('pins claim what fits into the store beside the facts, those of a higher priority first', () => {
  const read = parsePins(
    'pins:\n  - repo: acme/low\n  - repo: acme/high\n    priority: 1\n  - repo: acme/small\n',
    'pins.yaml',
  )
  if ('faults' in read) throw new Error('the file is wrong')
  const sizes: Readonly<Record<string, number>> = { 'acme/high': 60, 'acme/low': 40, 'acme/small': 35 }
  const keyOf = (sizeBytes: number) => `sha256:${String(sizeBytes).padStart(64, '0')}` as const
  const pinned = new Map(
    read.file.pins.map((pin) => {
      const sizeBytes = sizes[pin.repo.id] ?? 0
      const files = [{ key: keyOf(sizeBytes), sizeBytes }]
      return [pinId(pin, 'main'), [{ commit: 'a'.repeat(40), seenAt: 0, files }]]
    }),
  )
  expect(claim(read.file, pinned, 100)).toEqual({ keys: new Set([keyOf(60), keyOf(35)]), sizeBytes: 95 })
  expect(claim(read.file, pinned, undefined).sizeBytes).toBe(135)
  expect(claim(read.file, pinned, 60).sizeBytes).toBe(40)
})
