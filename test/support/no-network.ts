import net from 'node:net'

// Tests talk to loopback only: a connection anywhere else is a bug of the test or of the program.
const isLoopback = (host: string): boolean =>
  host === 'localhost' || host.endsWith('.localhost') || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host)

const { connect } = net.Socket.prototype as { connect: (...args: never[]) => net.Socket }
net.Socket.prototype.connect = function (this: net.Socket, ...args: unknown[]) {
  const first: unknown = Array.isArray(args[0]) ? args[0][0] : args[0]
  const host =
    typeof first === 'object' && first !== null
      ? ((first as net.TcpNetConnectOpts).host ?? ('path' in first ? undefined : 'localhost'))
      : typeof args[1] === 'string'
        ? args[1]
        : 'localhost'
  if (host !== undefined && !isLoopback(host)) throw new Error(`a test tried to reach ${host}`)
  return Reflect.apply(connect, this, args as never[])
} as typeof net.Socket.prototype.connect
