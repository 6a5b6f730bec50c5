// A real OpenID provider (npm oidc-provider) on loopback for the tests. Prints
// `ready {"issuer":"http://127.0.0.1:PORT"}` and runs until stdin ends: it must not outlive the test run.
//
// Serves /.well-known/openid-configuration, /jwks and /token (client_credentials -> signed JWT access token).
// Clients: "uploader" / "uploader-secret" (s3:read s3:write), "reader" / "reader-secret" (s3:read).
// Environment: AUDIENCE, TOKEN_TTL (seconds) and ALG of the tokens of /token; COUNTERSIGN_TOOLS, where node_modules is.
//
// What a real provider does not offer, on the same port:
//   POST /test/mint {claims}  signs any claims (null removes a default one) with a current key:
//                             ?alg=  RS or PS 256|384|512, ES256, ES384, EdDSA; none; HS256 (keyed with public RSA)
//                             ?kid= ?typ=  and ?header={json}: any header fields, null removes
//                             ?foreign=1  the right kid, but a key that nobody published
//   POST /test/rotate         new keys come first, the old ones stay published;  /test/drop-old  only the newest stay
//   POST /test/down, /test/up JWKS, discovery and tokens answer 503, and again normally
//   POST /test/slow?ms=       the same three wait so long before they answer
//   GET  /test/stats          how often each of the three was asked;  /test/kids  published keys, newest first
import * as crypto from 'node:crypto';
import http from 'node:http';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

// oidc-provider 9 expects Node 22. These two are all it misses in the Node 18 of Debian 12.
globalThis.crypto ??= crypto.webcrypto;
URL.parse ??= (text, base) => { try { return new URL(text, base); } catch { return null; } };

// import looks for packages beside the importing file only, and ours are in the tools directory.
const tools = path.resolve(process.env.COUNTERSIGN_TOOLS ?? fileURLToPath(new URL('../../.tools', import.meta.url)));
const installed = createRequire(path.join(tools, 'package.json')).resolve('oidc-provider');
const { Provider } = await import(pathToFileURL(installed));

const audience = process.env.AUDIENCE ?? 'urn:s3-gateway';
const ttl = Number(process.env.TOKEN_TTL ?? 300);
const scope = 's3:read s3:write';
const KINDS = {
  RS256: ['rsa', { modulusLength: 2048 }],
  PS256: ['rsa', { modulusLength: 2048 }],
  ES256: ['ec', { namedCurve: 'P-256' }],
  ES384: ['ec', { namedCurve: 'P-384' }],
  EdDSA: ['ed25519', {}],
};
// RS512 is signed with the key published for RS256: a verifier must refuse that for the algorithm alone.
const kindOf = (alg) => ({ RS: 'RS256', PS: 'PS256', HS: 'RS256', no: 'RS256' })[alg.slice(0, 2)] ?? alg;

function newKey(alg, kid) {
  const { privateKey } = crypto.generateKeyPairSync(...KINDS[alg]);
  return { ...privateKey.export({ format: 'jwk' }), kid, use: 'sig', alg };
}
let generation = 0;
function newKeys() {
  generation += 1;
  return Object.keys(KINDS).map((alg) => newKey(alg, `${alg.toLowerCase()}-${generation}`));
}

let keys = newKeys();
let issuer, provider, down = false, slowMs = 0;
const stats = { jwks: 0, discovery: 0, token: 0 };

// The provider reads its keys once, so every change of keys needs a new one.
function build() {
  provider = new Provider(issuer, {
    jwks: { keys },
    clients: [['uploader', scope], ['reader', 's3:read']].map(([id, allowed]) => ({
      client_id: id, client_secret: `${id}-secret`, scope: allowed,
      grant_types: ['client_credentials'], redirect_uris: [], response_types: [],
    })),
    scopes: scope.split(' '),
    clientAuthMethods: ['client_secret_basic', 'client_secret_post'],
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      // Without a resource server access tokens are opaque strings.
      resourceIndicators: {
        enabled: true,
        defaultResource: () => audience,
        useGrantedResource: () => true,
        getResourceServerInfo: () => ({
          scope, audience, accessTokenTTL: ttl,
          accessTokenFormat: 'jwt', jwt: { sign: { alg: process.env.ALG ?? 'RS256' } },
        }),
      },
    },
    extraTokenClaims: (_ctx, token) => ({ tenant: `tenant-${token.clientId}`, groups: ['app', token.clientId] }),
    ttl: { ClientCredentials: ttl },
  }).callback();
}

const base64url = (data) => Buffer.from(data).toString('base64url');
const withoutNulls = (fields) => Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null));

function sign(alg, input, jwk) {
  if (alg === 'none') return '';
  const key = crypto.createPrivateKey({ key: jwk, format: 'jwk' });
  if (alg === 'HS256') {
    // Key confusion: a verifier that takes the algorithm from the token would use the public key as HMAC secret.
    const secret = crypto.createPublicKey(key).export({ type: 'spki', format: 'pem' });
    return crypto.createHmac('sha256', secret).update(input).digest();
  }
  const padding = alg.startsWith('PS')
    ? { padding: crypto.constants.RSA_PKCS1_PSS_PADDING, saltLength: crypto.constants.RSA_PSS_SALTLEN_DIGEST }
    : {};
  const digest = alg === 'EdDSA' ? null : `sha${alg.slice(2)}`;
  return crypto.sign(digest, Buffer.from(input), { key, dsaEncoding: 'ieee-p1363', ...padding });
}

function mint(claims, query) {
  const alg = query.get('alg') ?? 'RS256';
  const kind = kindOf(alg);
  const published = keys.find((key) => key.alg === kind);
  if (!published) throw new Error(`no key for alg ${alg}`);
  const head = withoutNulls({
    alg, typ: query.get('typ') ?? 'at+jwt', kid: query.get('kid') ?? published.kid,
    ...JSON.parse(query.get('header') ?? '{}'),
  });
  const now = Math.floor(Date.now() / 1000);
  const body = withoutNulls({
    iss: issuer, aud: audience, sub: 'uploader', client_id: 'uploader', scope,
    iat: now, exp: now + ttl, jti: crypto.randomUUID(), ...claims,
  });
  const input = `${base64url(JSON.stringify(head))}.${base64url(JSON.stringify(body))}`;
  const key = query.get('foreign') ? newKey(kind, published.kid) : published;
  return `${input}.${base64url(sign(alg, input, key))}`;
}

async function read(req) {
  let text = '';
  for await (const part of req) text += part;
  return text;
}
const kids = () => keys.map((key) => key.kid);
const controls = {
  mint: async (query, req) => ({ access_token: mint(JSON.parse((await read(req)) || '{}'), query) }),
  rotate: () => { keys = [...newKeys(), ...keys]; build(); return kids(); },
  'drop-old': () => { keys = keys.slice(0, Object.keys(KINDS).length); build(); return kids(); },
  down: () => { down = true; return {}; },
  up: () => { down = false; return {}; },
  slow: (query) => { slowMs = Number(query.get('ms')); return {}; },
  stats: () => stats,
  kids,
};

const server = http.createServer(async (req, res) => {
  const { pathname, searchParams } = new URL(req.url, issuer);
  const json = (status, value) =>
    res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
  try {
    const control = pathname.startsWith('/test/') && controls[pathname.slice('/test/'.length)];
    if (control) return json(200, await control(searchParams, req));
    const asked = pathname.startsWith('/.well-known/') ? 'discovery' : pathname.slice(1);
    if (asked in stats) stats[asked] += 1;
    if (slowMs > 0) await new Promise((wake) => setTimeout(wake, slowMs));
    return down ? json(503, { error: 'down' }) : provider(req, res);
  } catch (error) {
    return json(500, { error: String(error) });
  }
});
server.listen(0, '127.0.0.1', () => {
  issuer = `http://127.0.0.1:${server.address().port}`;
  build();
  console.log(`ready ${JSON.stringify({ issuer })}`);
});
process.stdin.resume().on('close', () => process.exit(0));
process.on('SIGTERM', () => process.exit(0));
