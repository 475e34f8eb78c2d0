// Puts together what decides, fetches and answers: the parts of mirror/, before a store and the Hub.

import type { Logger } from 'pino'
import type { Config } from './config/keys.ts'
import type { LiveSettings } from './config/live.ts'
import type { Health } from './health.ts'
import { joinGit, openGit } from './join-git.ts'
import { Access } from './mirror/access/access.ts'
import { Policies } from './mirror/access/policies.ts'
import { Refusals } from './mirror/access/refusals.ts'
import { Contents } from './mirror/content.ts'
import { DatasetAssets } from './mirror/dataset-assets.ts'
import { DocumentFreshness } from './mirror/documents/document-freshness.ts'
import { Implied } from './mirror/documents/implied.ts'
import { Downloads } from './mirror/downloads/downloads.ts'
import { joinListings } from './mirror/files/join-listings.ts'
import type { GitClones } from './mirror/git-clones.ts'
import { Intake } from './mirror/intake.ts'
import type { Invalidations } from './mirror/invalidations.ts'
import { Metadata } from './mirror/metadata/metadata.ts'
import { RestrictedMetadata } from './mirror/metadata/restricted.ts'
import { createMirror, type Mirror } from './mirror/mirror.ts'
import { Objects } from './mirror/objects.ts'
import { Registry } from './mirror/registry.ts'
import { Uploads } from './mirror/uploads.ts'
import { createSignedUrls } from './origin/files/signed-urls.ts'
import type { OriginClients } from './origin-clients.ts'
import type { DiskStore } from './store/disk-store.ts'
import type { Observer } from './telemetry/observer.ts'
import { type UnnamedRepos, watchUnnamedRepos } from './unnamed-repos.ts'

/** The part of the memory cache for documents as clients are sent them. The store has the rest. */
export const DOCUMENTS_SHARE = 1 / 16

export interface JoinedMirror {
  readonly mirror: Mirror
  readonly downloads: Downloads
  readonly git: GitClones
  readonly unnamed: UnnamedRepos
  readonly intake: Intake
}

/** Connects the parts of mirror/. The caller closes `downloads` and `git`, and stops `unnamed`. */
export function joinMirror(
  config: Config,
  deps: OriginClients & {
    readonly settings: LiveSettings
    readonly store: DiskStore
    readonly via: string
    readonly observer: Observer
    readonly logger: Logger
    readonly now: () => number
    readonly monotonic: () => number
    readonly health: Health
    readonly invalidations: Invalidations
    readonly isCommand: boolean
  },
): JoinedMirror {
  const { settings, store, client, datasetsServer, observer, monotonic, invalidations } = deps
  const { cachePrivate, pullConnections: connections, pullAbandoned: abandoned } = config
  const { onStorageFailed, onNoSpace } = deps.health
  const origin = config.origin.href
  const stored = { facts: store.facts, origin, monotonic, onWriteError: onStorageFailed }
  const metadata = new Metadata({ ...stored, invalidations })
  const restricted = new RestrictedMetadata({ ...stored, settings, cachePrivate, invalidations })
  const access = new Access({ metadata, restricted, invalidations, settings, monotonic })
  const downloads = new Downloads({ store, connections, abandoned, observer, onStorageFailed, onNoSpace })
  const urls = createSignedUrls({ monotonic, now: deps.now })
  const refusals = new Refusals({ settings, monotonic })
  const kept = openGit(config, deps)
  const implied = new Implied({ metadata, originBase: client.policy.base, invalidations, ...kept })
  const freshness = new DocumentFreshness({ metadata, invalidations, settings, monotonic })
  const shared = {
    ...kept,
    client,
    datasetsServer,
    metadata,
    restricted,
    access,
    refusals,
    implied,
    freshness,
    rewrittenBytes: config.memoryCacheBytes * DOCUMENTS_SHARE,
    urls,
    offline: config.offline,
    cachePrivate,
    invalidations,
    monotonic,
    observer,
  }
  const credentialOf = (name: string): string | undefined => bearer(settings.hubTokens.get(name)?.reveal())
  const policies = new Policies({ ...shared, settings, credentialOf })
  const contents = new Contents({ ...shared, store, downloads, onStorageFailed })
  const objects = new Objects({ ...shared, contents })
  const asksLicence = (): boolean => policies.asksLicence
  const mayReadAhead = config.readAhead !== 'off' && !config.offline
  const readsAhead = (): boolean => mayReadAhead && settings.clientsRateLimit === undefined
  const rest = { contents, policies, settings, asksLicence, readsAhead }
  const byListing = joinListings({ ...shared, ...rest })
  const git = joinGit(config, {
    ...shared,
    ...byListing,
    ...deps,
    asksLicence,
    isStored: (sha256, sizeBytes) => objects.isStored(sha256, sizeBytes),
  })
  const mirror = createMirror({
    ...byListing,
    metadata,
    access,
    refusals,
    policies,
    git,
    now: monotonic,
    objects,
    assets: new DatasetAssets(shared),
    uploads: new Uploads({ ...shared, contents, downloads }),
    registry: new Registry({ ...shared, objects }),
  })
  const own = { contents, downloads, origin: config.origin, place: config.cacheDir }
  const intake = new Intake({ ...shared, ...deps, ...own })
  return { mirror, downloads, git, unnamed: watchUnnamedRepos(restricted, deps), intake }
}

function bearer(token: string | undefined): string | undefined {
  return token === undefined ? undefined : `Bearer ${token}`
}
