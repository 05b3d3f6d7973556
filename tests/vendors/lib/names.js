// A name server on loopback, for nginx: every name is one of `addresses` or loopback.
import dgram from 'node:dgram';

const HEADER_LEN = 12;
const TYPE_A = 1;

/** `addresses` are IPv4 addresses by name; all other names are 127.0.0.1. */
export async function startNames(addresses) {
  const socket = dgram.createSocket('udp4');
  socket.on('message', (query, from) => {
    const labels = [];
    let at = HEADER_LEN;
    while (query[at] > 0) {
      labels.push(query.toString('latin1', at + 1, at + 1 + query[at]));
      at += 1 + query[at];
    }
    const end = at + 5;
    const type = query.readUInt16BE(at + 1);
    const address = addresses[labels.join('.').toLowerCase()] ?? '127.0.0.1';
    const header = Buffer.from(query.subarray(0, HEADER_LEN));
    // A response, recursion available, one question and for A one record; RFC 1035 section 4.1.1.
    header.writeUInt16BE(0x8180, 2);
    header.writeUInt16BE(1, 4);
    header.writeUInt16BE(type === TYPE_A ? 1 : 0, 6);
    header.fill(0, 8);
    const record = Buffer.from([0xc0, HEADER_LEN, 0, TYPE_A, 0, 1, 0, 0, 0, 60, 0, 4, ...address.split('.').map(Number)]);
    socket.send(Buffer.concat([header, query.subarray(HEADER_LEN, end), ...(type === TYPE_A ? [record] : [])]), from.port, from.address);
  });
  await new Promise((resolve, reject) => socket.once('error', reject).bind(0, '127.0.0.1', resolve));
  return {
    address: `127.0.0.1:${socket.address().port}`,
    stop: () => new Promise((resolve) => socket.close(resolve)),
  };
}
