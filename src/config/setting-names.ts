// The three spellings of the name of a setting: in the file, as a variable and as a flag.

/** `cache.maxSize` → `CACHE_MAX_SIZE`: the spelling in which names from all sources are compared. */
export function canonicalName(key: string): string {
  return key
    .replace(/([a-z0-9])([A-Z])/g, '$1_$2')
    .replace(/[.-]/g, '_')
    .toUpperCase()
}

/** `cache.maxSize` → `HUBMIRROR_CACHE_MAX_SIZE`. */
export function envName(key: string): string {
  return `HUBMIRROR_${canonicalName(key)}`
}

/** `cache.maxSize` → `--cache-max-size`. */
export function flagName(key: string): string {
  return `--${canonicalName(key).toLowerCase().replaceAll('_', '-')}`
}

/** The key of the setting that names the file of a secret: `token` → `tokenFile`. */
export function fileKey(key: string): string {
  return `${key}File`
}
