// Who asks, and what the Hub says to them: the matrix of credentials against kinds of repo, as refusals.
// Knows no route and writes no answer.

import type { IncomingHttpHeaders } from 'node:http'
import type { Found, Repo, Token, World } from './repos.ts'

/** Whose credential came along. */
export type Caller =
  | { readonly kind: 'anonymous' }
  | { readonly kind: 'invalid' }
  | { readonly kind: 'user'; readonly name: string; readonly token: Token }

/** A "no" of the Hub. `code` is X-Error-Code; `message` is X-Error-Message and the body. */
export interface Refusal {
  readonly status: number
  readonly code?: string
  readonly message: string
  /** Send WWW-Authenticate along. */
  readonly challenge?: true
  /** X-Repo-Commit, which lets clients remember that a file is absent. */
  readonly commit?: string
}

const CHALLENGED = { status: 401, challenge: true } as const

export const REFUSALS = {
  invalidCredentials: { ...CHALLENGED, message: 'Invalid credentials in Authorization header' },
  anonymous: { ...CHALLENGED, message: 'Invalid username or password.' },
  repoNotFound: { status: 404, code: 'RepoNotFound', message: 'Repository not found' },
  disabled: { status: 403, message: 'Access to this resource is disabled.' },
  noWriteRight: { status: 403, message: "You don't have the rights to write to this repo" },
} as const satisfies Record<string, Refusal>

export function revisionNotFound(revision: string): Refusal {
  return { status: 404, code: 'RevisionNotFound', message: `Invalid rev id: ${asciiOnly(revision)}` }
}

export function entryNotFound(commit: string): Refusal {
  return { status: 404, code: 'EntryNotFound', message: 'Entry not found', commit }
}

/** Reads the Authorization header: Bearer, or Basic with the token as password (Git). */
export function callerOf(world: World, headers: IncomingHttpHeaders): Caller {
  const header = headers.authorization
  if (header === undefined) return { kind: 'anonymous' }
  const token = world.tokens.get(secretIn(header))
  return token === undefined ? { kind: 'invalid' } : { kind: 'user', name: token.user, token }
}

/** May this caller know of the repo? Metadata of public gated repos is open to all. */
export function judgeMetadata(world: World, caller: Caller, found: Found | undefined): Refusal | undefined {
  if (caller.kind === 'invalid') return REFUSALS.invalidCredentials
  if (found === undefined || (found.repo.isPrivate && !owns(world, caller, found.repo, 'readers'))) {
    return caller.kind === 'anonymous' ? REFUSALS.anonymous : REFUSALS.repoNotFound
  }
  return found.repo.isDisabled ? REFUSALS.disabled : undefined
}

/** May this caller have the bytes of the repo's files, or of the one at `path`? */
export function judgeFiles(
  world: World,
  caller: Caller,
  found: Found | undefined,
  path?: string,
): Refusal | undefined {
  // A user must be able to read the model card before requesting access.
  if (path === 'README.md') return judgeMetadata(world, caller, found)
  const isGatedInPublic = found !== undefined && found.repo.gate !== false && !found.repo.isPrivate
  // Of a gated repo the Hub says GatedRepo to a bad token, too.
  if (!(isGatedInPublic && caller.kind === 'invalid')) {
    const refusal = judgeMetadata(world, caller, found)
    if (refusal !== undefined) return refusal
  }
  if (found === undefined || passesGate(world, caller, found.repo)) return undefined
  const { repo } = found
  const kind = { models: 'model', datasets: 'dataset', spaces: 'space', kernels: 'kernel' }[repo.type]
  return caller.kind === 'user'
    ? {
        status: 403,
        code: 'GatedRepo',
        message: `Access to ${kind} ${repo.id} is restricted and you are not in the authorized list. Visit the repo page to ask for access.`,
      }
    : {
        status: 401,
        code: 'GatedRepo',
        message: `Access to ${kind} ${repo.id} is restricted. You must have access to it and be authenticated to access it. Please log in.`,
      }
}

/** May this caller change the repo? */
export function judgeWrite(world: World, caller: Caller, found: Found | undefined): Refusal | undefined {
  if (caller.kind === 'anonymous') return REFUSALS.anonymous
  const refusal = judgeMetadata(world, caller, found)
  if (refusal !== undefined || found === undefined || caller.kind !== 'user') return refusal
  const isWriter = caller.token.role === 'write' && owns(world, caller, found.repo, 'readers')
  return isWriter ? undefined : REFUSALS.noWriteRight
}

/** Whether the gate is open for this caller; ungated repos have none. */
export function passesGate(world: World, caller: Caller, repo: Repo): boolean {
  return repo.gate === false || owns(world, caller, repo, 'approved')
}

/** May this caller create repos under the name? */
export function mayCreateIn(world: World, caller: Caller, namespace: string): boolean {
  if (caller.kind !== 'user' || caller.token.role !== 'write') return false
  return caller.name === namespace || (world.users.get(caller.name)?.orgs.includes(namespace) ?? false)
}

// Listed by name, owner of the namespace, or member of the organisation; a fine-grained token must name the repo.
function owns(world: World, caller: Caller, repo: Repo, list: 'readers' | 'approved'): boolean {
  if (caller.kind !== 'user') return false
  if (caller.token.role === 'fineGrained' && !caller.token.repos.includes(repo.id)) return false
  const namespace = repo.id.split('/')[0] ?? ''
  const orgs = world.users.get(caller.name)?.orgs ?? []
  return repo[list].has(caller.name) || caller.name === namespace || orgs.includes(namespace)
}

function secretIn(header: string): string {
  const [scheme = '', value = ''] = header.split(' ')
  if (scheme.toLowerCase() === 'bearer') return value
  if (scheme.toLowerCase() !== 'basic') return ''
  const pair = Buffer.from(value, 'base64').toString()
  return pair.slice(pair.indexOf(':') + 1)
}

function asciiOnly(text: string): string {
  return text.replaceAll(/[^\x20-\x7e]/g, '?')
}
