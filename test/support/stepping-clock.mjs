// Loaded into a process before all else (`--import`): its wall clock is off by as many milliseconds as stand in the
// file CLOCK_OFFSET_FILE, from one reading to the next. What measures time that has passed goes on as it does.

import { readFileSync } from 'node:fs'

const file = process.env['CLOCK_OFFSET_FILE']
const RealDate = Date
const now = () => RealDate.now() + (file === undefined ? 0 : Number(readFileSync(file, 'utf8')))

globalThis.Date = class extends RealDate {
  constructor(...args) {
    super(...(args.length === 0 ? [now()] : args))
  }

  static now() {
    return now()
  }
}
