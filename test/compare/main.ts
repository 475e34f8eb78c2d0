// npm run compare: plays the behaviour table and writes it into nginx-compare/, as Markdown and as JSON.

import { readFileSync, writeFileSync } from 'node:fs'
import { markdown, playAll } from './table.ts'

const README = new URL('../../nginx-compare/README.md', import.meta.url)
const JSON_FILE = new URL('../../nginx-compare/behaviour.json', import.meta.url)
const [BEGIN, END] = ['<!-- behaviour:begin -->', '<!-- behaviour:end -->']

const rows = await playAll((line) => console.log(line))
writeFileSync(JSON_FILE, `${JSON.stringify(rows, null, 2)}\n`)
const readme = readFileSync(README, 'utf8')
const [from, to] = [readme.indexOf(BEGIN), readme.indexOf(END)]
if (from < 0 || to < from) throw new Error('nginx-compare/README.md lacks the marks of the table')
writeFileSync(README, `${readme.slice(0, from + BEGIN.length)}\n${markdown(rows)}\n${readme.slice(to)}`)
