//! WebSocket frames (RFC 6455), unfragmented binary.

pub fn frame(out: &mut Vec<u8>, len: usize, mask: bool) {
    out.push(0x82);
    let m = if mask { 0x80 } else { 0 };
    match len {
        0..=125 => out.push(m | len as u8),
        126..=65535 => {
            out.push(m | 126);
            out.extend((len as u16).to_be_bytes())
        }
        _ => {
            out.push(m | 127);
            out.extend((len as u64).to_be_bytes())
        }
    }
    if mask {
        out.extend([0; 4]);
    } // a zero mask is legal and leaves the payload as it is
    out.resize(out.len() + len, b'w');
}
/// (whole frame length, payload offset, payload length) once the header is there
pub fn parse(b: &[u8]) -> Option<(usize, usize, usize)> {
    if b.len() < 2 {
        return None;
    }
    let m = if b[1] & 0x80 != 0 { 4 } else { 0 };
    let (h, n) = match b[1] & 0x7f {
        126 if b.len() >= 4 => (4, u16::from_be_bytes([b[2], b[3]]) as usize),
        127 if b.len() >= 10 => (
            10,
            u64::from_be_bytes(b[2..10].try_into().unwrap()) as usize,
        ),
        126 | 127 => return None,
        n => (2, n as usize),
    };
    Some((h + m + n, h + m, n))
}
