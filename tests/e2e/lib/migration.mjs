// A person moves their account to another PDS, with the calls that the tools for it make: the new PDS
// makes an inactive account for the DID, takes the repository, the old PDS signs the new DID document, the
// new account is switched on and the old one off.

/** Moves the account from one PDS (a lab) to another of the same PLC directory; handle and password stay. */
export async function moveAccount(person, { from, to }) {
  const signedInAt = (lab) =>
    lab.xrpc('POST', 'com.atproto.server.createSession', { json: { identifier: person.did, password: person.password } })
  const old = { token: (await signedInAt(from)).accessJwt }
  const service = await to.xrpc('GET', 'com.atproto.server.describeServer')

  const { token } = await from.xrpc('GET', 'com.atproto.server.getServiceAuth', {
    ...old,
    query: { aud: service.did, lxm: 'com.atproto.server.createAccount' },
  })
  const account = { did: person.did, handle: person.handle, password: person.password, email: `${person.handle}@mail.test` }
  await to.xrpc('POST', 'com.atproto.server.createAccount', { token, json: account })
  const young = { token: (await signedInAt(to)).accessJwt }
  const repository = await from.xrpc('GET', 'com.atproto.sync.getRepo', { query: { did: person.did } })
  await to.xrpc('POST', 'com.atproto.repo.importRepo', { ...young, bytes: repository })

  const credentials = await to.xrpc('GET', 'com.atproto.identity.getRecommendedDidCredentials', young)
  const { operation } = await from.xrpc('POST', 'com.atproto.identity.signPlcOperation', {
    ...old,
    json: { ...credentials, token: await from.plcToken(person.did) },
  })
  await to.xrpc('POST', 'com.atproto.identity.submitPlcOperation', { ...young, json: { operation } })
  await to.xrpc('POST', 'com.atproto.server.activateAccount', young)
  await from.xrpc('POST', 'com.atproto.server.deactivateAccount', { ...old, json: {} })
}
