// The part of the addon that lock.ts uses; it has no types of its own. With `fd` alone, the lock is exclusive and covers the
// whole file.

declare module 'fs-native-extensions' {
  const addon: { readonly tryLock: (fd: number) => boolean }
  export default addon
}
