// The host names of the TLS lab, mapped to loopback inside the process that imports this module; the
// machine's own hosts file is not touched. Handles are `*.test`, servers are `*.internal`: a PDS
// refuses clients under `.test` and handles under `.internal`.

import dns from 'node:dns'

export const serverNames = ['pds.internal', 'second-pds.internal', 'plc.internal', 'aip.internal']

export const isLabName = (name) => serverNames.includes(name) || name.endsWith('.test')

const systemLookup = dns.lookup

dns.lookup = function lookup(name, options, callback) {
  if (typeof options === 'function') return lookup(name, {}, options)
  if (!isLabName(name)) return systemLookup(name, options, callback)
  const loopback = { address: '127.0.0.1', family: 4 }
  if (options.all) return process.nextTick(callback, null, [loopback])
  return process.nextTick(callback, null, loopback.address, loopback.family)
}
