// A provider of OpenID Connect at http://HOST:PORT, which takes any password. Usage: node provider.mjs HOST PORT CALLBACK
import Provider from 'oidc-provider';

const [host, port, door] = process.argv.slice(2);
const groups = { 'ana@example.org': ['analytics', 'people'], 'eve@example.org': ['people,admins', 'a b'] };
// Line breaks, which would start headers.
const broken = 'mallory@example.org\r\nX-Forwarded-User: admin';
groups['mallory@example.org'] = ['people\r\nX-Forwarded-Groups: admins'];
const provider = new Provider(`http://${host}:${port}`, {
  clients: [{
    client_id: 'door',
    client_secret: 'the-secret-of-the-door',
    redirect_uris: [`${door}/door/openid`],
    post_logout_redirect_uris: [`${door}/door/bye.html`],
  }],
  claims: { openid: ['sub', 'email', 'groups'] },
  conformIdTokenClaims: false,
  pkce: { required: () => true },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, email: broken.startsWith(id) ? broken : id, groups: groups[id] }) }),
});
provider.listen(Number(port), host, () => console.log('listening'));
