//! This machine's own addresses (`getifaddrs(3)`).

use crate::sys::name::Name;
use std::io;
use std::net::IpAddr;

/// Addresses of the interfaces that are up, in the kernel's order, without link-local IPv6 ones.
///
/// Loopback addresses come last.
pub fn interface_addresses() -> io::Result<Vec<IpAddr>> {
    let mut head: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: `head` is a valid place for the list's first pointer.
    if unsafe { libc::getifaddrs(&raw mut head) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut found = Vec::new();
    let mut next = head.cast_const();
    while !next.is_null() {
        // SAFETY: `next` is a node of the list that getifaddrs made, and the list is not freed yet.
        let node = unsafe { &*next };
        if let Some(ip) = address(node) {
            found.push(ip);
        }
        next = node.ifa_next;
    }
    // SAFETY: `head` came from getifaddrs and no reference into the list is left.
    unsafe { libc::freeifaddrs(head) };
    found.sort_by_key(IpAddr::is_loopback);
    Ok(found)
}

fn address(node: &libc::ifaddrs) -> Option<IpAddr> {
    if node.ifa_addr.is_null() || node.ifa_flags & libc::IFF_UP as u32 == 0 {
        return None;
    }
    // SAFETY: the pointer is not null, and every address starts with its family.
    let family = unsafe { (*node.ifa_addr).sa_family };
    let mut name = Name::empty();
    let len = match i32::from(family) {
        libc::AF_INET => std::mem::size_of::<libc::sockaddr_in>(),
        libc::AF_INET6 => std::mem::size_of::<libc::sockaddr_in6>(),
        _ => return None,
    };
    let from = node.ifa_addr.cast::<u8>().cast_const();
    let to = (&raw mut name).cast::<u8>();
    // SAFETY: an address of this family has `len` bytes, `name` has room for either family, and they do not overlap.
    unsafe { std::ptr::copy_nonoverlapping(from, to, len) };
    let ip = name.get(len as libc::socklen_t)?.ip();
    match ip {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => None,
        IpAddr::V4(_) | IpAddr::V6(_) => Some(ip),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_among_the_addresses_and_link_local_is_not() {
        let found = interface_addresses().expect("read");
        assert!(found.contains(&"127.0.0.1".parse().expect("valid")));
        let link_local = |ip: &IpAddr| matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
        assert!(!found.iter().any(link_local));
    }
}
