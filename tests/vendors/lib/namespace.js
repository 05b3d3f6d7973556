// A network namespace without a way out: imported first, it starts the test file again inside one and ends this process.
//
// What a vendor's SDK sends can then reach nothing but loopback and one address of the documentation range, which stands for the
// machine's own: browsers gather ICE candidates from no loopback address alone.
import { spawnSync } from 'node:child_process';
import { readlinkSync } from 'node:fs';

/** Where relayd listens inside the namespace. */
export const ADDRESS = '203.0.113.10';

const OUTSIDE = 'RELAYD_TEST_OUTER_NAMESPACE';
const own = readlinkSync('/proc/self/ns/net');

const SETUP = `
ip link set lo up &&
ip link add outer type veth peer name inner &&
ip addr add ${ADDRESS}/24 dev outer &&
ip link set outer up && ip link set inner up &&
ip route add default dev outer || exit 97
exec "$@"`;

if (!process.env[OUTSIDE] || process.env[OUTSIDE] === own) {
  // Root needs no user namespace; anybody else gets one, where the kernel lets them.
  const user = process.getuid() === 0 ? [] : ['--map-root-user'];
  const command = ['--net', ...user, 'sh', '-c', SETUP, 'sh', process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const env = { ...process.env, [OUTSIDE]: own, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };
  const inner = spawnSync('unshare', command, { stdio: 'inherit', env });
  if (inner.error) throw new Error(`unshare cannot be started (apt-get install util-linux): ${inner.error.message}`);
  if (inner.status === 97) throw new Error('the network namespace cannot be set up: iproute2 and veth are needed');
  if (inner.status === 1 && process.getuid() !== 0) console.error('no root: the kernel may forbid user namespaces; run the vendor tests as root');
  process.exit(inner.status ?? 1);
}
