// A certificate authority of the test's own, by openssl.
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';

function openssl(...args) {
  try {
    execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  } catch (error) {
    if (error.code === 'ENOENT') throw new Error('openssl is missing: apt-get install openssl');
    throw new Error(`openssl ${args[0]} failed: ${error.stderr}`);
  }
}

/** Makes an authority in `dir`; `leaf(name, altNames)` gives `{cert, key}`, paths of PEM files that it signed. */
export function authority(dir) {
  const at = (file) => path.join(dir, file);
  const newKey = (file) => openssl('ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', at(file));
  newKey('ca.key');
  openssl('req', '-x509', '-new', '-key', at('ca.key'), '-out', at('ca.pem'), '-days', '30', '-subj', '/CN=relayd test authority',
    '-addext', 'keyUsage=critical,keyCertSign,cRLSign');
  return {
    ca: at('ca.pem'),
    leaf(name, altNames) {
      const [key, request, cert, extensions] = [`${name}.key`, `${name}.csr`, `${name}.pem`, `${name}.ext`];
      newKey(key);
      openssl('req', '-new', '-key', at(key), '-out', at(request), '-subj', `/CN=${name}`);
      writeFileSync(at(extensions), `subjectAltName=${altNames.join(',')}\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n`);
      openssl('x509', '-req', '-in', at(request), '-CA', at('ca.pem'), '-CAkey', at('ca.key'), '-CAcreateserial', '-out', at(cert), '-days', '30',
        '-extfile', at(extensions));
      return { cert: at(cert), key: at(key) };
    },
  };
}
