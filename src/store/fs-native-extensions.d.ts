// What lock.ts uses of the addon, which brings no types. Exclusive over the whole file when only `fd` is given.

declare module 'fs-native-extensions' {
  const addon: { readonly tryLock: (fd: number) => boolean }
  export default addon
}
