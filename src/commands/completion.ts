// `hubmirror completion`: prints a script that completes commands, options and their values in bash, zsh or fish. The
// script is generated from the commands themselves, so it cannot become outdated. It starts no process during completion.

import { Argument, type Command, type Option } from 'commander'
import { SettingOption } from './help.ts'

const SHELLS = ['bash', 'zsh', 'fish'] as const
type Shell = (typeof SHELLS)[number]

const HELP = `
Examples:
  source <(hubmirror completion bash)                          this shell only
  hubmirror completion bash \\
    > ~/.local/share/bash-completion/completions/hubmirror
  hubmirror completion zsh > "\${fpath[1]}/_hubmirror"           then restart zsh
  hubmirror completion fish > ~/.config/fish/completions/hubmirror.fish`

/** Adds `completion SHELL`. It must be added after all other commands, because the script covers those of `program`. */
export function addCompletionCommand(program: Command): void {
  program
    .command('completion')
    .description('print a completion script for bash, zsh or fish')
    .addArgument(new Argument('<shell>', 'the shell to complete for').choices(SHELLS))
    .addHelpText('after', HELP)
    .action((shell: Shell) => {
      process.stdout.write(completionScript(program, shell))
    })
}

/** One command, by its words such as `token create`. The program itself has no words. */
interface Place {
  readonly words: string
  readonly commands: readonly Candidate[]
  readonly options: readonly FlagCandidate[]
  /** The values of the first argument, if it has a closed list. */
  readonly values: readonly string[]
}

interface Candidate {
  readonly name: string
  readonly description: string
}

interface FlagCandidate extends Candidate {
  /** The short form, such as `-q`, if there is one. */
  readonly short: string | undefined
  readonly takesValue: boolean
  readonly values: readonly string[]
}

/** The script for `shell`, for the current commands of `program`. */
export function completionScript(program: Command, shell: Shell): string {
  const places = placesOf(program, '')
  const name = program.name()
  switch (shell) {
    case 'bash':
      return bashScript(name, places)
    case 'zsh':
      return zshScript(name, places)
    case 'fish':
      return fishScript(name, places)
    default:
      return shell satisfies never
  }
}

function placesOf(command: Command, words: string): readonly Place[] {
  const children = command.commands.map((child) => ({ name: child.name(), description: child.description() }))
  const options = command.options
    .filter((option) => (option instanceof SettingOption ? option.isListed : !option.hidden))
    .map(flagOf)
  const help = { name: '--help', short: '-h', description: 'print this help', takesValue: false, values: [] }
  const place = {
    words,
    commands: children,
    options: [...options, help],
    values: command.registeredArguments[0]?.argChoices ?? [],
  }
  return [
    place,
    ...command.commands.flatMap((child) =>
      placesOf(child, words === '' ? child.name() : `${words} ${child.name()}`),
    ),
  ]
}

function flagOf(option: Option): FlagCandidate {
  // The form of a setting lists its values: `<forward|deny>`, `[on|off]`.
  const form = /[<[]([a-z0-9-]+(?:\|[a-z0-9-]+)+)[>\]]$/.exec(option.flags)?.[1]
  return {
    name: option.long ?? option.short ?? '',
    short: option.long === undefined ? undefined : (option.short ?? undefined),
    description: option.description,
    takesValue: option.required,
    values: option.argChoices ?? form?.split('|') ?? [],
  }
}

/** The text in single quotes for a shell. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`
}

function flagsOf(place: Place): readonly string[] {
  return place.options.flatMap(({ name, short }) => (short === undefined ? [name] : [name, short]))
}

/** The options whose value is the next word, with their known values. */
function valuesByFlag(places: readonly Place[]): ReadonlyMap<string, readonly string[]> {
  const taking = places.flatMap((place) => place.options).filter((option) => option.takesValue)
  return new Map(taking.map(({ name, values }) => [name, values]))
}

/** The part that bash and zsh share. It finds the command in the words typed so far, and lists the possible next words. */
function lookup(places: readonly Place[]): string {
  const taking = valuesByFlag(places)
  const known = [...taking].filter(([, values]) => values.length > 0)
  const paths = places.map(({ words }) => words).filter((words) => words !== '')
  return `
  local place='' word skip=''
  for word in "\${before[@]}"; do
    if [ -n "$skip" ]; then skip=''; continue; fi
    case "$word" in
      ${[...taking.keys()].join('|')}) skip=1 ;;
      -*) ;;
      *) case "\${place:+$place }$word" in
        ${paths.map(quoted).join('|')}) place="\${place:+$place }$word" ;;
      esac ;;
    esac
  done
  candidates=()
  if [ -n "$skip" ]; then
    case "$previous" in
${known.map(([flag, values]) => `      ${flag}) candidates=(${values.map(quoted).join(' ')}) ;;`).join('\n')}
      *) files=1 ;;
    esac
    return
  fi
  case "$place" in
${places
  .map(({ words, commands, values, ...place }) => {
    const plain = [...commands.map(({ name }) => name), ...values]
    return `    ${quoted(words)})
      case "$current" in
        -*) candidates=(${flagsOf({ words, commands, values, ...place })
          .map(quoted)
          .join(' ')}) ;;
        *) candidates=(${plain.map(quoted).join(' ')})${plain.length === 0 ? ' files=1' : ''} ;;
      esac ;;`
  })
  .join('\n')}
  esac`
}

function bashScript(name: string, places: readonly Place[]): string {
  return `# Completion of ${name} for bash.
_${name}_candidates() {${lookup(places)}
}
_${name}() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD - 1]}" files='' candidates=()
  local before=("\${COMP_WORDS[@]:1:COMP_CWORD - 1}")
  _${name}_candidates
  local IFS=$'\\n'
  COMPREPLY=($(compgen -W "\${candidates[*]}" -- "$current"))
  [ -z "$files" ] || COMPREPLY+=($(compgen -f -- "$current"))
}
complete -o filenames -F _${name} ${name}
`
}

function zshScript(name: string, places: readonly Place[]): string {
  return `#compdef ${name}
# Completion of ${name} for zsh.
_${name}_candidates() {${lookup(places)}
}
_${name}() {
  local current="\${words[CURRENT]}" previous="\${words[CURRENT - 1]}" files=''
  local -a candidates before
  before=("\${(@)words[2,CURRENT - 1]}")
  _${name}_candidates
  [ -z "$files" ] || _files
  compadd -- "\${candidates[@]}"
}
if [ "\${funcstack[1]-}" = _${name} ]; then _${name} "$@"; else compdef _${name} ${name}; fi
`
}

function fishScript(name: string, places: readonly Place[]): string {
  const lines = places.flatMap((place) => {
    const condition = quoted(`__${name}_at ${place.words === '' ? '""' : `"${place.words}"`}`)
    const start = `complete -c ${name} -n ${condition}`
    return [
      ...place.commands.map((child) => `${start} -f -a ${child.name} -d ${quoted(child.description)}`),
      ...place.values.map((value) => `${start} -f -a ${quoted(value)}`),
      ...place.options.map(({ name: long, short, description, takesValue, values }) => {
        const parts = [`${start} -l ${long.replace(/^--/, '')}`]
        if (short !== undefined) parts.push(`-s ${short.slice(1)}`)
        if (values.length > 0) parts.push(`${takesValue ? '-x' : ''} -a ${quoted(values.join(' '))}`.trim())
        else if (takesValue) parts.push('-r')
        if (description !== '') parts.push(`-d ${quoted(description)}`)
        return parts.join(' ')
      }),
    ]
  })
  const paths = places.map(({ words }) => words).filter((words) => words !== '')
  const taking = [...valuesByFlag(places).keys()]
  return `# Completion of ${name} for fish.
function __${name}_at
    set -l place
    set -l skip
    set -l typed (commandline -opc)
    for word in $typed[2..]
        if set -q skip[1]
            set -e skip
            continue
        end
        switch $word
            case ${taking.join(' ')}
                set skip 1
            case '-*'
            case '*'
                if contains -- (string join ' ' $place $word) ${paths.map(quoted).join(' ')}
                    set -a place $word
                end
        end
    end
    set -l at (string join ' ' $place)
    test "$at" = "$argv[1]"
end
${lines.join('\n')}
`
}
