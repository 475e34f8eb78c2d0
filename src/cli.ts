// Maps the command line to a command and an exit status: 0 done, 1 failed, 2 bad usage or bad configuration, 130
// interrupted. Only this file reads process.argv. It knows the settings only as a table, and loads commands on demand.
import { fstatSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { Command, CommanderError, Option } from 'commander'
import { addBundleCommand } from './commands/bundle-command.ts'
import { addCompletionCommand } from './commands/completion.ts'
import { addConfigCommand } from './commands/config.ts'
import { addDoctorCommand } from './commands/doctor-command.ts'
import { areCallsLeft } from './commands/endless-calls.ts'
import { HELP_FORM, SETTINGS_HELP, SettingOption, settingsHelpOf } from './commands/help.ts'
import { addHubCacheCommands } from './commands/hub-cache-commands.ts'
import { addPinsCommand } from './commands/pins-command.ts'
import { addPrefetchCommand } from './commands/prefetch-command.ts'
import { addStoreCommands } from './commands/store-commands.ts'
import { addTokenCommands } from './commands/token-commands.ts'
import { ConfigFaults } from './config/faults.ts'
import { rows } from './config/keys.ts'
import { loadConfig } from './config/load.ts'
import { CONFIG_FILE } from './config/setting.ts'
import { fileKey, flagName } from './config/setting-names.ts'
import { suggest } from './config/suggest.ts'
import { DiskFailure, diskCode } from './disk-errors.ts'

/** Runs the command and resolves with the exit status. Errors are printed for the user, with a stack only if unexpected. */
async function main(argv: readonly string[]): Promise<number> {
  let status = 0
  const program = createProgram((result) => {
    status = result
  })
  try {
    await program.parseAsync(argv)
    return status
  } catch (error) {
    // Commander has already printed its own message. It exits with 1 for a wrong option, where we use 2.
    if (error instanceof CommanderError) {
      if (error.exitCode === 0) return 0
      process.stderr.write(suggestFlag(error))
      return 2
    }
    // launch.cts prints the message: printing it here might need to open more files.
    if (isOfLoading(error)) throw error
    process.stderr.write(`hubmirror: ${describeFailure(error)}\n`)
    return error instanceof ConfigFaults ? 2 : 1
  }
}

function createProgram(finish: (status: number) => void): Command {
  const version = packageVersion()
  const program = new Command('hubmirror')
    .description('A caching mirror of the Hugging Face Hub that keeps login working.')
    .version(version, '-v, --version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .helpCommand('help [command]', 'print this help, or the help of a command')
    .exitOverride()
    .configureHelp(HELP_FORM)
    .showSuggestionAfterError(true)
    .addHelpText(
      'after',
      `\n${SETTINGS_HELP}\n\nExit status: 0 done, 1 failed, 2 bad usage or configuration, 130 interrupted.`,
    )

  withSettings(program.command('serve'))
    .description('run the mirror until a signal stops it')
    .action(async (flags: Record<string, unknown>) => {
      const { config, notices } = await loadChecked(flags)
      // Loaded on demand, so that `help` and `config` start without the modules of the server.
      const { runServe } = await import('./commands/serve.ts')
      const { checkTlsFiles } = await import('./config/tls-files.ts')
      const { checkPinsFile } = await import('./config/pins-file.ts')
      const load = (readFile: (path: string) => string): Loaded => {
        const loaded = loadConfig({ flags, readFile })
        checkTlsFiles(loaded)
        checkPinsFile(loaded)
        return loaded
      }
      finish(await runServe(config, { version, notices, load }))
    })

  addConfigCommand(program, { withSettings, load: (flags) => loadConfig({ flags }), loadChecked })
  const line = { withSettings, load: (flags: object) => loadConfig({ flags: { ...flags } }).config, finish }
  addStoreCommands(program, line)
  addPrefetchCommand(program, line, version)
  addPinsCommand(program, { ...line, loadChecked }, version)
  addBundleCommand(program, line, version)
  addHubCacheCommands(program, line, version)
  addTokenCommands(program, line)
  addDoctorCommand(program, line, version)
  program
    .command('version')
    .description('print the version')
    .action(() => {
      process.stdout.write(`${version}\n`)
    })
  addCompletionCommand(program)
  // The short form of earlier versions.
  program.addOption(new Option('-V').hideHelp()).on('option:V', () => {
    process.stdout.write(`${version}\n`)
    throw new CommanderError(0, 'commander.version', version)
  })
  return program
}

type Loaded = ReturnType<typeof loadConfig>

/** The settings, and also checked what stands in the files of TLS and of pins. Rejects with ConfigFaults. */
async function loadChecked(flags: Readonly<Record<string, unknown>>): Promise<Loaded> {
  const loaded = loadConfig({ flags })
  if (loaded.config.tlsCert !== undefined) {
    // Loaded on demand: few commands need it.
    const { checkTlsFiles } = await import('./config/tls-files.ts')
    checkTlsFiles(loaded)
  }
  if (loaded.config.pins !== undefined) {
    const { checkPinsFile } = await import('./config/pins-file.ts')
    checkPinsFile(loaded)
  }
  return loaded
}

/**
 * Adds a flag for each setting. Our own help text lists those whose keys are in `shown` together with their variables, or says
 * where all of them are listed.
 */
function withSettings(command: Command, shown?: readonly string[]): Command {
  const add = (key: string, form: string, optional: boolean): void => {
    const flag = `${flagName(key)} ${optional ? '[on|off]' : `<${form}>`}`
    const isListed = shown === undefined || key === CONFIG_FILE.key || shown.includes(key)
    const option = new SettingOption(flag, isListed)
    command.addOption(optional ? option.preset('on') : option)
  }
  for (const row of rows()) {
    // A switch without a value means on: `--offline`.
    add(row.key, row.form, row.form === 'on|off')
    if (row.secret === true) add(fileKey(row.key), 'file', false)
  }
  add(CONFIG_FILE.key, CONFIG_FILE.form, false)
  return command
    .allowExcessArguments(false)
    .addHelpText('after', `\n${shown === undefined ? SETTINGS_HELP : settingsHelpOf(shown)}`)
}

/** A suggestion for an unknown flag. Commander suggests only flags that its own help lists, and ours lists the settings. */
function suggestFlag(error: CommanderError): string {
  const unknown = /unknown option '(--[a-z-]+)/.exec(error.message)?.[1]
  if (unknown === undefined) return ''
  const names = [...rows(), CONFIG_FILE].map((row) => flagName(row.key).slice(2))
  const near = suggest(unknown.slice(2), names)
  return near === undefined ? '' : `(Did you mean --${near}?)\n`
}

function packageVersion(): string {
  // The relative path is the same from src/ and from dist/.
  const manifest: unknown = createRequire(import.meta.url)('../package.json')
  return typeof manifest === 'object' &&
    manifest !== null &&
    'version' in manifest &&
    typeof manifest.version === 'string'
    ? manifest.version
    : '0.0.0'
}

function describeFailure(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  // System errors (EADDRINUSE, EACCES) explain themselves. For any other error, a bug report needs the stack.
  return error instanceof ConfigFaults || 'code' in error ? error.message : (error.stack ?? error.message)
}

function isFile(descriptor: number): boolean {
  try {
    return fstatSync(descriptor).isFile()
  } catch {
    // It was closed before this process started.
    return false
  }
}

/** Whether a file of the program could not be opened, or the process may not open more files. */
function isOfLoading(error: unknown): boolean {
  const codes: readonly unknown[] = ['EMFILE', 'ENFILE', 'ERR_MODULE_NOT_FOUND', 'MODULE_NOT_FOUND']
  return error instanceof Error && 'code' in error && codes.includes(error.code)
}

/** Node's stream for a file reports no write that a full disk cuts short: the end of the output would be missing. */
function writeWhole(bytes: Buffer, _encoding: string, done: (error?: Error) => void): void {
  try {
    writeFileSync(process.stdout.fd, bytes)
    done()
  } catch (error) {
    done(error as Error)
  }
}

if (isFile(process.stdout.fd)) Object.assign(process.stdout, { _write: writeWhole })
let isCut = false
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  // `hubmirror help | head` closes the pipe early, which is not a failure.
  if (error.code === 'EPIPE') return
  if (diskCode(error) === undefined) throw error
  if (!isCut)
    process.stderr.write(`hubmirror: ${new DiskFailure('stdout cannot be written', error).message}\n`)
  isCut = true
  process.exitCode = 1
})
/** How long a call may take to return that a command has left. */
const CALLS_END_WITHIN_MS = 1_000
const status = await main(process.argv)
process.exitCode = isCut ? 1 : status
// If all calls return, the process ends before that. Only a signal ends it otherwise, and shells report 130 for SIGINT.
setTimeout(() => {
  if (areCallsLeft()) process.kill(process.pid, status === 130 ? 'SIGINT' : 'SIGTERM')
}, CALLS_END_WITHIN_MS).unref()
