// A tiny authoritative DNS server (UDP and TCP, RFC 1035): TXT `_atproto.HANDLE` with the DID of a
// handle, A 127.0.0.1 for the lab's own names, NXDOMAIN for everything else.

import dgram from 'node:dgram'
import { once } from 'node:events'
import net from 'node:net'

const TYPE_A = 1
const TYPE_TXT = 16
const NXDOMAIN = 3

function parseQuestion(message) {
  const labels = []
  let at = 12
  while (message[at]) {
    labels.push(message.toString('latin1', at + 1, at + 1 + message[at]))
    at += message[at] + 1
  }
  return { name: labels.join('.').toLowerCase(), type: message.readUInt16BE(at + 1), end: at + 5 }
}

/** The answer message for `records` (the data of each), or NXDOMAIN for `undefined`. */
function encode(query, question, records) {
  const header = Buffer.alloc(12)
  query.copy(header, 0, 0, 2)
  const recursionDesired = query.readUInt16BE(2) & 0x0100
  header.writeUInt16BE(0x8480 | recursionDesired | (records ? 0 : NXDOMAIN), 2)
  header.writeUInt16BE(1, 4)
  header.writeUInt16BE(records?.length ?? 0, 6)
  const answers = (records ?? []).map((data) => {
    const record = Buffer.alloc(12)
    record.writeUInt16BE(0xc00c, 0) // the name of the question
    record.writeUInt16BE(question.type, 2)
    record.writeUInt16BE(1, 4) // class IN
    record.writeUInt32BE(1, 6) // time to live
    record.writeUInt16BE(data.length, 10)
    return Buffer.concat([record, data])
  })
  return Buffer.concat([header, query.subarray(12, question.end), ...answers])
}

/** Listens on loopback; `isHost(name)` knows the lab's names, `didOf(handle)` its people. */
export async function startDns({ isHost, didOf }) {
  async function recordsFor({ name, type }) {
    if (name.startsWith('_atproto.')) {
      const did = await didOf(name.slice('_atproto.'.length))
      if (!did) return undefined
      const text = Buffer.from(`did=${did}`)
      return type === TYPE_TXT ? [Buffer.concat([Buffer.from([text.length]), text])] : []
    }
    if (!isHost(name)) return undefined
    return type === TYPE_A ? [Buffer.from([127, 0, 0, 1])] : []
  }
  async function answer(query) {
    const question = parseQuestion(query)
    return encode(query, question, await recordsFor(question))
  }

  const tcp = net.createServer((socket) => {
    let received = Buffer.alloc(0)
    socket.on('error', () => socket.destroy())
    socket.on('data', async (chunk) => {
      received = Buffer.concat([received, chunk])
      while (received.length >= 2 && received.length >= 2 + received.readUInt16BE(0)) {
        const query = received.subarray(2, 2 + received.readUInt16BE(0))
        received = received.subarray(2 + query.length)
        const message = await answer(query)
        const length = Buffer.alloc(2)
        length.writeUInt16BE(message.length)
        socket.write(Buffer.concat([length, message]))
      }
    })
  })
  tcp.listen(0, '127.0.0.1')
  await once(tcp, 'listening')
  const { port } = tcp.address()

  const udp = dgram.createSocket('udp4')
  udp.on('message', async (query, from) => udp.send(await answer(query), from.port, from.address))
  udp.bind(port, '127.0.0.1')
  await once(udp, 'listening')

  return { port }
}
