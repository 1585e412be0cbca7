// The PLC directory of the lab: `@did-plc/server` with its data in memory.

import plcServer from '@did-plc/server'

/** A request handler for the directory. */
export function createPlc() {
  const { app, ctx } = plcServer.PlcServer.create({ db: plcServer.Database.mock() })
  return async (request, response) => {
    const did = /^\/(did(?::|%3a)plc(?::|%3a)[a-z2-7]{24})$/i.exec(request.url)?.[1]
    const operation = request.method === 'GET' && did && (await ctx.db.lastOpForDid(decodeURIComponent(did)))
    if (!operation || operation.type !== 'plc_operation') return app(request, response)
    response.writeHead(200, { 'content-type': 'application/did+ld+json', 'access-control-allow-origin': '*' })
    response.end(JSON.stringify(documentOf(decodeURIComponent(did), operation)))
  }
}

// This release of the server still writes documents in an old form (relative ids, uncompressed keys of
// type EcdsaSecp256k1VerificationKey2019); the public directory answers in this one.
function documentOf(did, operation) {
  return {
    '@context': ['https://www.w3.org/ns/did/v1', 'https://w3id.org/security/multikey/v1', 'https://w3id.org/security/suites/secp256k1-2019/v1'],
    id: did,
    alsoKnownAs: operation.alsoKnownAs,
    verificationMethod: Object.entries(operation.verificationMethods).map(([name, key]) => ({
      id: `${did}#${name}`,
      type: 'Multikey',
      controller: did,
      publicKeyMultibase: key.replace(/^did:key:/, ''),
    })),
    service: Object.entries(operation.services).map(([name, service]) => ({
      id: `#${name}`,
      type: service.type,
      serviceEndpoint: service.endpoint,
    })),
  }
}
