// npm run cache-suite: runs the public suite of HTTP caches against the mirror and nginx, and prints the scores. Exit
// status 1 when the mirror reuses what it must not. `-- --write` puts the scores into nginx-compare/, too.

import { readFileSync, writeFileSync } from 'node:fs'
import { CONTESTANTS, WAYS, type Way } from './contestants.ts'
import { runContestants } from './run.ts'
import { markdown, NAMES, scoresOf } from './table.ts'
import { complaints, WAIVERS, waivedOf } from './waivers.ts'

const README = new URL('../../nginx-compare/README.md', import.meta.url)
const JSON_FILE = new URL('../../nginx-compare/cache-suite.json', import.meta.url)
const [BEGIN, END] = ['<!-- cache-suite:begin -->', '<!-- cache-suite:end -->']

const runs = await runContestants(NAMES, (name) => console.log(`done: ${CONTESTANTS[name].title}`))
const scores = scoresOf(runs)
const table = markdown(scores, waivedOf)
console.log(`\n${table}`)
for (const way of Object.keys(WAYS) as Way[]) {
  console.log(`\n${WAYS[way].title}`)
  for (const [id, reason] of Object.entries(WAIVERS[way])) console.log(`  waived: ${id}. ${reason}`)
  const wrong = complaints(runs[way], WAIVERS[way])
  for (const complaint of wrong) console.log(`  WRONG: ${complaint}`)
  if (wrong.length > 0) process.exitCode = 1
}
if (process.argv.includes('--write') && process.exitCode === undefined) {
  writeFileSync(JSON_FILE, `${JSON.stringify(scores, null, 2)}\n`)
  const readme = readFileSync(README, 'utf8')
  const [from, to] = [readme.indexOf(BEGIN), readme.indexOf(END)]
  if (from < 0 || to < from) throw new Error('nginx-compare/README.md lacks the marks of the table')
  writeFileSync(README, `${readme.slice(0, from + BEGIN.length)}\n${table}\n${readme.slice(to)}`)
}
