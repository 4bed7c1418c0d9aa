// An identity provider that is not ours: npm's oidc-provider (certified for OpenID Connect), over TLS on loopback.
// `node provider.mjs TOLD.json`; then a line of JSON for each thing that the person's browser does there, and a line for where it led.
import { createServer } from 'node:https'
import { generateKeyPairSync } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'

const told = JSON.parse(readFileSync(process.argv[2], 'utf8'))
const { default: Provider } = await import(pathToFileURL(`${told.modules}/node_modules/oidc-provider/lib/index.js`))

const signing = generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey.export({ format: 'jwk' })
const provider = new Provider(told.issuer, {
  clients: [{
    client_id: told.client, redirect_uris: [told.redirect], response_types: ['code'], grant_types: ['authorization_code'],
    token_endpoint_auth_method: 'private_key_jwt', token_endpoint_auth_signing_alg: 'ES384', jwks: { keys: [told.key] },
    id_token_signed_response_alg: 'ES384', require_auth_time: true,
    backchannel_logout_uri: told.logout, backchannel_logout_session_required: true
  }],
  jwks: { keys: [{ ...signing, kid: 'theirs', use: 'sig', alg: 'ES384' }] },
  cookies: { keys: ['of this run only'] },
  claims: { openid: ['sub', 'id_assurance_level'] },
  conformIdTokenClaims: false,
  enabledJWA: { idTokenSigningAlgValues: ['ES384'], clientAuthSigningAlgValues: ['ES384', 'RS512'] },
  features: { devInteractions: { enabled: true }, backchannelLogout: { enabled: true } },
  pkce: { required: () => true },
  findAccount: (_, sub) => ({ accountId: sub, claims: () => ({ sub, id_assurance_level: sub.startsWith('weak') ? '2' : '3' }) })
})
// What it would not accept it says in its answers; what goes wrong inside, here.
provider.on('server_error', (_, error) => console.error(error))

// As much of a browser as its forms need: cookies, redirects, buttons.
const jars = {}
async function walk (subject, start) {
  const jar = jars[subject] ??= {}
  let request = { url: start }
  for (let step = 0; step < 20; step++) {
    const cookie = Object.entries(jar).map(([name, value]) => `${name}=${value}`).join('; ')
    const answer = await fetch(request.url, { method: request.form ? 'POST' : 'GET', redirect: 'manual', body: request.form, headers: { cookie } })
    for (const line of answer.headers.getSetCookie()) {
      const [name, value] = line.split(';')[0].split('=')
      jar[name] = value
    }
    const location = answer.headers.get('location')
    const page = await answer.text()
    if (location) {
      const next = new URL(location, request.url)
      if (!next.href.startsWith(told.issuer)) return { location: next.href }
      request = { url: next.href }
      continue
    }
    const action = /<form[^>]* action="([^"]+)"/.exec(page)?.[1]
    if (!action) return { status: answer.status, page }
    const form = new URLSearchParams({ login: subject, password: 'any', logout: 'yes' })
    for (const [, name, value] of page.matchAll(/<input type="hidden" name="([^"]+)" value="([^"]*)"/g)) form.set(name, value)
    request = { url: new URL(action, request.url).href, form }
  }
  return { error: 'this leads nowhere' }
}

const server = createServer({ key: readFileSync(told.tlsKey), cert: readFileSync(told.tlsCertificate) }, provider.callback())
server.listen(told.port, '127.0.0.1', () => console.log(JSON.stringify({ ready: true })))
for await (const line of createInterface({ input: process.stdin })) {
  const { subject, url } = JSON.parse(line)
  const led = await walk(subject, url).catch((error) => ({ error: String(error), cause: String(error.cause) }))
  console.log(JSON.stringify(led))
}
process.exit(0)
