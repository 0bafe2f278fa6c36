// An authorization server for the interop tests: oidc-provider on two TLS listeners of loopback.
//
//   node server.mjs <folder with node_modules> <configuration.json>
//
// The configuration (written by servers.py) holds the TLS material, the clients and the signing keys. The first line on
// standard output is a JSON object with the addresses; the server ends when its standard input does, so that it never
// outlives the test process.

import { randomBytes, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import https from 'node:https';
import { createRequire } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const [installation, configurationFile] = process.argv.slice(2);
const resolve = createRequire(path.join(installation, 'package.json')).resolve;
const { default: Provider, errors } = await import(pathToFileURL(resolve('oidc-provider')));
const settings = JSON.parse(readFileSync(configurationFile, 'utf8'));

const tls = { key: settings.tls.key, cert: settings.tls.certificate };
const front = https.createServer(tls);
// Certificates are asked for and not verified by the listener: oidc-provider decides per client.
const mutual = https.createServer({ ...tls, ca: settings.tls.client_ca, requestCert: true, rejectUnauthorized: false });

const listen = (server) => new Promise((done, failed) => {
  server.once('error', failed);
  server.listen(0, '127.0.0.1', () => done(`https://localhost:${server.address().port}`));
});
const [issuer, mtls] = [await listen(front), await listen(mutual)];

const peerCertificate = (ctx) => {
  const certificate = ctx.socket.getPeerCertificate?.();
  return certificate?.raw ? new X509Certificate(certificate.raw) : undefined;
};

const subjectMatches = (ctx, property, expected) => {
  const certificate = peerCertificate(ctx);
  switch (property) {
    case 'tls_client_auth_subject_dn':
      // Node prints one attribute a line, first to last; RFC 4514 writes them last to first, with commas.
      return certificate.subject.split('\n').reverse().join(',') === expected;
    case 'tls_client_auth_san_dns':
      return certificate.subjectAltName.split(', ').includes(`DNS:${expected}`);
    case 'tls_client_auth_san_uri':
      return certificate.subjectAltName.split(', ').includes(`URI:${expected}`);
    default:
      return false;
  }
};

// One resource server per kind of token; the scopes are what a client may ask for there.
const resourceServers = {
  'https://opaque.example/': { scope: 'read write', accessTokenFormat: 'opaque' },
  'https://jwt.example/': { scope: 'read write', accessTokenFormat: 'jwt', jwt: { sign: { alg: 'ES256' } } },
};

const provider = new Provider(issuer, {
  clients: settings.clients,
  jwks: settings.jwks,
  scopes: ['read', 'write'],
  clientAuthMethods: [
    'client_secret_basic', 'client_secret_post', 'client_secret_jwt', 'private_key_jwt',
    'tls_client_auth', 'self_signed_tls_client_auth',
  ],
  enabledJWA: {
    clientAuthSigningAlgValues: [
      'HS256', 'HS384', 'HS512', 'RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512',
      'ES256', 'ES384', 'ES512', 'Ed25519', 'EdDSA',
    ],
    dPoPSigningAlgValues: ['RS256', 'PS256', 'ES256', 'ES384', 'ES512', 'Ed25519', 'EdDSA'],
  },
  extraClientMetadata: { properties: ['token_lifetime'] },
  ttl: { ClientCredentials: (ctx, token, client) => client.token_lifetime ?? 600 },
  discovery: {
    mtls_endpoint_aliases: {
      token_endpoint: `${mtls}/token`,
      introspection_endpoint: `${mtls}/token/introspection`,
      revocation_endpoint: `${mtls}/token/revocation`,
    },
  },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    introspection: {
      enabled: true,
      allowedPolicy: (ctx, client, token) => client.clientId === 'the-api' || client.clientId === token.clientId,
    },
    revocation: { enabled: true, allowedPolicy: (ctx, client, token) => client.clientId === token.clientId },
    dPoP: { enabled: true, nonceSecret: randomBytes(32), requireNonce: () => true },
    mTLS: {
      enabled: true,
      certificateBoundAccessTokens: true,
      selfSignedTlsClientAuth: true,
      tlsClientAuth: true,
      getCertificate: peerCertificate,
      certificateAuthorized: (ctx) => ctx.socket.authorized === true,
      certificateSubjectMatches: subjectMatches,
    },
    // The profile that makes oidc-provider demand the issuer as the only audience of an assertion.
    fapi: { enabled: true, profile: (ctx, client) => (client?.clientId.startsWith('fapi2-') ? '2.0' : undefined) },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => undefined,
      getResourceServerInfo(ctx, resource) {
        if (!Object.hasOwn(resourceServers, resource)) throw new errors.InvalidTarget();
        return resourceServers[resource];
      },
    },
    richAuthorizationRequests: {
      enabled: true,
      types: {
        payment: {
          validate(ctx, detail) {
            if (!Array.isArray(detail.actions)) throw new errors.InvalidAuthorizationDetails('actions is missing');
          },
        },
      },
      authorizationDetailsForGrantSource: (ctx) => JSON.parse(ctx.oidc.params.authorization_details),
      authorizationDetailsForAccessToken: (ctx) => JSON.parse(ctx.oidc.params.authorization_details),
      authorizationDetailsForIntrospection: (ctx, token) => token.rar,
    },
  },
});

if (process.env.INTEROP_DEBUG) {
  provider.on('server_error', (ctx, error) => console.error(error));
  provider.on('grant.error', (ctx, error) => console.error(error.error, error.error_description, error.error_detail));
}

const callback = provider.callback();
front.on('request', callback);
mutual.on('request', callback);

process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
process.on('SIGTERM', () => process.exit(0));
const version = JSON.parse(readFileSync(path.join(installation, 'node_modules/oidc-provider/package.json'), 'utf8')).version;
console.log(JSON.stringify({ issuer, mtls, version, node: process.version }));
