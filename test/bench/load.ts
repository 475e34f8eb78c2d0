// A closed loop of requests over raw sockets: as cheap as a client can be, so that the server is what is measured.

import net from 'node:net'

/** Keeps `connections` busy with `method` on `url` for `seconds`; resolves with the number of whole answers. */
export function load(
  url: string,
  method: 'GET' | 'HEAD',
  options: { readonly connections: number; readonly seconds: number },
): Promise<number> {
  const { hostname, port, host, pathname } = new URL(url)
  const request = `${method} ${pathname} HTTP/1.1\r\nHost: ${host}\r\n\r\n`
  return new Promise((resolve, reject) => {
    let answers = 0
    const sockets = Array.from({ length: options.connections }, () => {
      const socket = net.connect(Number(port), hostname, () => socket.write(request))
      let head = ''
      let bodyLeft = 0
      socket.on('data', (chunk: Buffer) => {
        if (bodyLeft === 0) {
          head += chunk.toString('latin1')
          const end = head.indexOf('\r\n\r\n')
          if (end < 0) return
          if (!head.startsWith('HTTP/1.1 200')) reject(new Error(head.slice(0, 100)))
          const length = Number(/^content-length: (\d+)/im.exec(head)?.[1])
          bodyLeft = method === 'HEAD' ? 0 : length - (head.length - end - 4)
          head = ''
        } else {
          bodyLeft -= chunk.length
        }
        if (bodyLeft > 0) return
        answers += 1
        socket.write(request)
      })
      socket.on('error', reject)
      return socket
    })
    setTimeout(() => {
      for (const socket of sockets) socket.destroy()
      resolve(answers)
    }, options.seconds * 1000)
  })
}
