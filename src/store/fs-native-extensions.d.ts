// The part of the addon that lock.ts and table/table.ts use; it has no types of its own. The lock is exclusive. It covers
// `length` bytes from `offset` on, with `fd` alone the whole file.

declare module 'fs-native-extensions' {
  const addon: { readonly tryLock: (fd: number, offset?: number, length?: number) => boolean }
  export default addon
}
