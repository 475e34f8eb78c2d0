// Preloaded into JavaScript clients, which use no proxy variable: a connection to any name but `localhost` and `::1` fails, and
// so does a client that is led past the mirror.

import net from 'node:net'

const connect = net.Socket.prototype.connect
net.Socket.prototype.connect = function (...args) {
  const options = Array.isArray(args[0]) ? args[0][0] : args[0]
  if (!['localhost', '::1', '[::1]'].includes(options?.host))
    throw new Error(`the client was led past the mirror, to ${options?.host}`)
  return Reflect.apply(connect, this, args)
}
