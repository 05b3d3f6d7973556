//! HTTP/1.1, just enough: heads, and one request with its whole answer.

use crate::R;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub fn find(h: &[u8], n: &[u8]) -> Option<usize> {
    h.windows(n.len()).position(|w| w == n)
}
pub fn field<'a>(head: &'a [u8], name: &str) -> Option<&'a str> {
    std::str::from_utf8(head).ok()?.split("\r\n").find_map(|l| {
        let (k, v) = l.split_once(':')?;
        k.eq_ignore_ascii_case(name).then(|| v.trim())
    })
}
/// Reads one head into `buf`; returns its length. Bytes after it stay in `buf`.
pub async fn head<S: AsyncReadExt + Unpin>(s: &mut S, buf: &mut Vec<u8>) -> io::Result<usize> {
    loop {
        if let Some(p) = find(buf, b"\r\n\r\n") {
            return Ok(p + 4);
        }
        if s.read_buf(buf).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
/// What the origin's bodies hold after the tag.
pub const FILLING: u8 = b'o';
pub const CORRUPT: &str = "corrupt answer";
/// Whether these bytes, `at` bytes into the body, are the origin's: the request's tag, then filling.
pub fn is_origins(tag: &[u8], at: u64, bytes: &[u8]) -> bool {
    let left = tag.get(at as usize..).unwrap_or_default();
    let (head, rest) = bytes.split_at(left.len().min(bytes.len()));
    head == &left[..head.len()] && rest.iter().all(|b| *b == FILLING)
}
/// One request and its whole answer, which must start with the tag; returns (status, body bytes).
pub async fn exchange<S: AsyncReadExt + AsyncWriteExt + Unpin>(
    s: &mut S,
    req: &[u8],
    tag: &[u8],
    buf: &mut Vec<u8>,
) -> R<(u16, u64)> {
    s.write_all(req).await?;
    s.flush().await?;
    let n = head(s, buf).await?;
    let st: u16 = std::str::from_utf8(&buf[9..12])?.parse()?;
    if let Some(cl) = field(&buf[..n], "content-length") {
        let cl: u64 = cl.parse()?;
        let here = (buf.len() - n).min(cl as usize);
        let mut left = cl - here as u64;
        let mut sound = is_origins(tag, 0, &buf[n..n + here]);
        if left > 0 {
            buf.clear();
        } else {
            buf.drain(..n + cl as usize);
        }
        while left > 0 {
            buf.clear();
            buf.reserve(65536);
            match s.read_buf(buf).await? {
                0 => return Err("early end".into()),
                k => {
                    sound &= is_origins(tag, cl - left, buf);
                    left = left.saturating_sub(k as u64)
                }
            }
            if left == 0 {
                buf.clear();
            }
        }
        if !sound && st == 200 {
            return Err(CORRUPT.into());
        }
        return Ok((st, cl));
    }
    if field(&buf[..n], "transfer-encoding").is_some() {
        buf.drain(..n);
        let mut total = 0;
        loop {
            let e = loop {
                if let Some(p) = find(buf, b"\r\n") {
                    break p;
                }
                if s.read_buf(buf).await? == 0 {
                    return Err("early end".into());
                }
            };
            let k = usize::from_str_radix(
                std::str::from_utf8(&buf[..e])?
                    .split(';')
                    .next()
                    .unwrap()
                    .trim(),
                16,
            )?;
            while buf.len() < e + 2 + k + 2 {
                if s.read_buf(buf).await? == 0 {
                    return Err("early end".into());
                }
            }
            if st == 200 && !is_origins(tag, total, &buf[e + 2..e + 2 + k]) {
                return Err(CORRUPT.into());
            }
            buf.drain(..e + 2 + k + 2);
            total += k as u64;
            if k == 0 {
                return Ok((st, total));
            }
        }
    }
    buf.drain(..n);
    Ok((st, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_altered_body_is_noticed_wherever_it_is_cut() {
        let body = [b"3-7.", &[FILLING; 40][..]].concat();
        for cut in 0..body.len() {
            let (head, tail) = body.split_at(cut);
            assert!(is_origins(b"3-7.", 0, head) && is_origins(b"3-7.", cut as u64, tail));
            let mut altered = body.clone();
            altered[cut] ^= 1;
            assert!(!is_origins(b"3-7.", 0, &altered), "byte {cut}");
        }
        assert!(!is_origins(b"3-8.", 0, &body), "another request's answer");
    }
}
