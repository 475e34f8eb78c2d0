// The series of pins: how many there are, how many are behind and why, and their bytes.

import type { Gauge } from 'prom-client'
import { type Observer, PIN_REASONS } from './observer.ts'

/** Sets the series to what was reported. A reason that no pin has is 0. */
export function countPins(
  series: {
    readonly pins: Gauge
    readonly pinsBehind: Gauge<'reason'>
    readonly pinsKept: Gauge
    readonly pinsMissing: Gauge
  },
  { pins, behind, keptBytes, missingBytes }: Parameters<Observer['pinsChanged']>[0],
): void {
  series.pins.set(pins)
  for (const reason of PIN_REASONS) series.pinsBehind.set({ reason }, behind.get(reason) ?? 0)
  series.pinsKept.set(keptBytes)
  series.pinsMissing.set(missingBytes)
}
