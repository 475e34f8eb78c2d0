#!/usr/bin/env node
// The bin. It is written for any Node, so that an old one gets a sentence instead of a SyntaxError, and starts the
// command on a Node that is new enough.
//
// It also makes Node's thread pool larger before anything starts that pool: four threads serve files, DNS and syncs
// alike, so eight slow syncs would make every read wait. Set later, from a module, the variable has no effect.

type Manifest = { readonly engines: { readonly node: string } }

function start(): void {
  const manifest = require('../package.json') as Manifest
  const needed = manifest.engines.node.replace(/^\D+/, '')
  if (!isAtLeast(process.versions.node, needed)) {
    process.stderr.write(
      'hubmirror needs Node ' +
        needed +
        ' or later, and this is Node ' +
        process.versions.node +
        '. Install a newer one (https://nodejs.org), or put its folder first in PATH.\n',
    )
    process.exitCode = 2
    return
  }
  if (process.env['UV_THREADPOOL_SIZE'] === undefined) process.env['UV_THREADPOOL_SIZE'] = '16'
  void import('./cli.ts')
}

/** Compares versions such as 20.19.0 part by part; a part that is missing counts as 0. */
function isAtLeast(version: string, needed: string): boolean {
  const have = version.split('.').map(Number)
  const want = needed.split('.').map(Number)
  for (let part = 0; part < 3; part += 1) {
    const difference = (have[part] || 0) - (want[part] || 0)
    if (difference !== 0) return difference > 0
  }
  return true
}

start()
