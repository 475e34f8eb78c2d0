#!/usr/bin/env node
// The executable of the package. It runs on any version of Node: an old one prints a sentence instead of a SyntaxError,
// and one that is new enough starts the command.
//
// It also enlarges Node's thread pool before the pool starts. Its four threads serve files, DNS and fsync, so a few slow
// fsyncs would make every read wait. If a module sets the variable later, it has no effect.

const fs = require('fs') as { existsSync(path: string): boolean }

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
        '. Install a newer version (https://nodejs.org), or put its folder first in PATH.\n',
    )
    process.exitCode = 2
    return
  }
  if (process.env['UV_THREADPOOL_SIZE'] === undefined) process.env['UV_THREADPOOL_SIZE'] = '16'
  import('./cli.ts').catch(function (error) {
    const isMissing = isOfMissingModule(error)
    const outOfFiles = outOfFilesCode(error)
    if (outOfFiles === undefined && !isMissing) throw error
    // Printed without the stack, which would only show which of several hundred files was one too many.
    process.stderr.write(
      outOfFiles === undefined
        ? 'hubmirror: ' +
            error.message.split('\n')[0] +
            '. Install hubmirror again: a file of it is missing.\n'
        : 'hubmirror: this process may not open enough files (' +
            outOfFiles +
            '). Raise the limit to 4096 or more: "ulimit -n 4096" in a shell, LimitNOFILE=4096 in a systemd unit, ' +
            '--ulimit nofile=4096 for a container.\n',
    )
    process.exitCode = 1
  })
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined
}

/** A module that is loaded late has the second code, and names in further lines what has required it. */
function isOfMissingModule(error: unknown): boolean {
  const code = codeOf(error)
  return code === 'ERR_MODULE_NOT_FOUND' || code === 'MODULE_NOT_FOUND'
}

/** The code of the error if the process or the system has run out of file descriptors. */
function outOfFilesCode(error: unknown): string | undefined {
  const code = codeOf(error)
  if (code === 'EMFILE' || code === 'ENFILE') return code
  if (code !== 'ERR_MODULE_NOT_FOUND') return undefined
  // Node reports a module that it cannot open as one that does not exist, and a package whose package.json it cannot open as
  // one without a main file.
  const named = /^Cannot find (module|package) '(\/.+)' imported from /.exec((error as Error).message)
  const [, kind, path = ''] = named || []
  const isThere =
    path !== '' && fs.existsSync(kind === 'module' ? path : path.replace(/[^/]+$/, 'package.json'))
  return isThere ? 'EMFILE' : undefined
}

/** Compares versions such as 20.19.0 part by part; a missing part counts as 0. */
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
