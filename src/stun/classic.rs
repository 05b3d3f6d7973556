//! Binding for clients of RFC 3489: no magic cookie, a transaction ID of 16 bytes, MAPPED-ADDRESS in plain.
//!
//! Only what such a client needs to learn its address. A request to be answered from or at another address
//! (CHANGE-REQUEST with a flag, RESPONSE-ADDRESS) gets 420: the latter would send answers to a third party.

use crate::stun::HEADER_LEN;
use crate::stun::attributes::{ERROR_CODE, MAPPED_ADDRESS, UNKNOWN_ATTRIBUTES};
use std::net::{IpAddr, SocketAddr};

const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
const BINDING_SUCCESS: [u8; 2] = [0x01, 0x01];
const BINDING_ERROR: [u8; 2] = [0x01, 0x11];
const CHANGE_REQUEST: u16 = 0x0003;
const USERNAME: u16 = 0x0006;

/// The answer to a classic Binding request from `client`; `None` where `bytes` are none.
pub fn answer(bytes: &[u8], client: SocketAddr) -> Option<Vec<u8>> {
    let (header, mut rest) = bytes.split_first_chunk::<HEADER_LEN>()?;
    let [k0, k1, l0, l1, id @ ..] = header;
    if [*k0, *k1] != BINDING_REQUEST || usize::from(u16::from_be_bytes([*l0, *l1])) != rest.len() {
        return None;
    }
    let mut refused = Vec::new();
    while !rest.is_empty() {
        let (&[k0, k1, l0, l1], after) = rest.split_first_chunk()?;
        let (value, after) = after.split_at_checked(usize::from(u16::from_be_bytes([l0, l1])))?;
        let kind = u16::from_be_bytes([k0, k1]);
        match kind {
            CHANGE_REQUEST if value.iter().all(|byte| *byte == 0) => {}
            USERNAME | 0x8000.. => {}
            _ => refused.push(kind),
        }
        rest = after;
    }
    if refused.is_empty() {
        Some(message(BINDING_SUCCESS, id, &mapped_address(client)))
    } else {
        Some(message(BINDING_ERROR, id, &unknown_attributes(&refused)))
    }
}

fn message(kind: [u8; 2], id: &[u8; 16], attributes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(attributes.len()).unwrap_or(u16::MAX);
    [&kind[..], &length.to_be_bytes(), id, attributes].concat()
}

fn mapped_address(client: SocketAddr) -> Vec<u8> {
    let (family, ip) = match client.ip() {
        IpAddr::V4(ip) => (1, ip.octets().to_vec()),
        IpAddr::V6(ip) => (2, ip.octets().to_vec()),
    };
    let mut value = vec![0, family];
    value.extend(client.port().to_be_bytes());
    value.extend(ip);
    attribute(MAPPED_ADDRESS, &value)
}

/// At most 16 of them, each once more where the number is odd, as RFC 3489 §11.2.10 fills up.
fn unknown_attributes(kinds: &[u16]) -> Vec<u8> {
    let mut kinds: Vec<u16> = kinds.iter().copied().take(16).collect();
    if kinds.len() % 2 == 1 {
        kinds.extend(kinds.last().copied());
    }
    let value: Vec<u8> = kinds.iter().flat_map(|kind| kind.to_be_bytes()).collect();
    let mut out = attribute(ERROR_CODE, &[0, 0, 4, 20]);
    out.extend(attribute(UNKNOWN_ATTRIBUTES, &value));
    out
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    [&kind.to_be_bytes()[..], &length.to_be_bytes(), value].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(attributes: &[u8]) -> Vec<u8> {
        message(BINDING_REQUEST, &[7; 16], attributes)
    }

    fn client() -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], 0x1234))
    }

    #[test]
    fn a_classic_client_learns_its_address_in_plain() {
        let answer = answer(&request(&[]), client()).expect("an answer");
        assert_eq!(answer[..4], [1, 1, 0, 12]);
        assert_eq!(answer[4..20], [7; 16]);
        assert_eq!(answer[20..], [0, 1, 0, 8, 0, 1, 0x12, 0x34, 192, 0, 2, 1]);
    }

    #[test]
    fn an_answer_to_or_from_elsewhere_is_refused_with_420() {
        let response_address = [0, 2, 0, 8, 0, 1, 0, 80, 192, 0, 2, 9];
        let change_ip = [0, 3, 0, 4, 0, 0, 0, 4];
        for attributes in [&response_address[..], &change_ip] {
            let answer = answer(&request(attributes), client()).expect("an answer");
            assert_eq!(answer[..2], BINDING_ERROR);
            assert_eq!(answer[20..28], [0, 9, 0, 4, 0, 0, 4, 20]);
        }
        let no_change = [0, 3, 0, 4, 0, 0, 0, 0];
        let answer = answer(&request(&no_change), client()).expect("an answer");
        assert_eq!(answer[..2], BINDING_SUCCESS);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            answer(&bytes, client());
        }

        #[test]
        fn arbitrary_attributes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            answer(&request(&bytes), client());
        }
    }
}
