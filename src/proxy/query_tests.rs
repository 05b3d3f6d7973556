use super::*;
use proptest::prelude::*;

fn url(named: Option<Named>) -> Option<String> {
    let named = named?;
    let authority = named.authority.map_or("?".to_owned(), |a| a.to_string());
    Some(format!("{authority}{}", named.path_and_query))
}

#[test]
fn an_access_point_is_the_raw_rest_of_the_query_behind_url() {
    for (query, wanted) in [
        (
            "?url=a.agora.io/api/v2/transpond/webrtc?v=2",
            "a.agora.io/api/v2/transpond/webrtc?v=2",
        ),
        (
            "?url=a.agora.io/api/v1&action=stringuid",
            "a.agora.io/api/v1?action=stringuid",
        ),
        (
            "?url=a.agora.io/api/v1&action=x&b=c",
            "a.agora.io/api/v1?action=x&b=c",
        ),
        (
            "?url=a.agora.io/api/v1?action=uap&b=c?d",
            "a.agora.io/api/v1?action=uap&b=c?d",
        ),
        ("?url=a.agora.io/api/v1", "a.agora.io/api/v1"),
        ("?url=a.agora.io/", "a.agora.io/"),
        ("?url=a.agora.io", "a.agora.io/"),
        ("?url=a.agora.io?v=2", "a.agora.io/?v=2"),
        ("?url=a.agora.io&v=2", "a.agora.io/?v=2"),
        ("?url=A.Agora.io:6443/x", "a.agora.io:6443/x"),
        ("?url=a.agora.io//x//y", "a.agora.io/x//y"),
        (
            "?url=a.agora.io/%2e%2e/a%2Fb%20c",
            "a.agora.io/%2e%2e/a%2Fb%20c",
        ),
        (
            "?v=1&url=a.agora.io/x&url=b.agora.io",
            "a.agora.io/x?url=b.agora.io",
        ),
        ("?url=127.0.0.1/x", "?/x"),
        ("?url=a.agora.io%2Fx", "?/"),
        ("?url=https://a.agora.io/x", "?/a.agora.io/x"),
        ("?url=u@a.agora.io/x", "?/x"),
        ("?url=gateway/x", "?/x"),
        ("?url=", "?/"),
    ] {
        for path in ["ap/", "ap"] {
            assert_eq!(url(agora(path, query)).as_deref(), Some(wanted), "{query}");
        }
    }
    for query in [
        "",
        "?",
        "?v=1",
        "?xurl=a.agora.io",
        "?url",
        "?h=a.agora.io&p=443",
    ] {
        assert_eq!(agora("ap/", query), None, "{query}");
    }
}

#[test]
fn the_other_paths_name_host_port_and_a_path_with_one_slash_in_front() {
    for (query, wanted) in [
        (
            "?h=a.agora.io&p=443&d=/events/messages",
            "a.agora.io/events/messages",
        ),
        ("?h=a.agora.io&p=443&d=upload/v1", "a.agora.io/upload/v1"),
        (
            "?h=a.agora.io&p=443&d=//upload//v1",
            "a.agora.io/upload//v1",
        ),
        (
            "?h=a.agora.io&p=6443&d=events/proto-raws",
            "a.agora.io:6443/events/proto-raws",
        ),
        ("?h=a.agora.io&p=443&d=x?y=z&h=b", "a.agora.io/x?y=z&h=b"),
        ("?h=a.agora.io&p=443&d=x&y=z&h=b", "a.agora.io/x?y=z&h=b"),
        ("?p=4702&h=A.agora.io", "a.agora.io:4702/"),
        ("?h=a.agora.io&p=443&d=", "a.agora.io/"),
        ("?h=a.agora.io&h=b.agora.io&p=443", "a.agora.io/"),
        ("?h=a.agora.io:80&p=443", "?/"),
        ("?h=a.agora.io&p=0443", "?/"),
        ("?h=a.agora.io&p=0", "?/"),
        ("?h=a.agora.io&p=65536", "?/"),
        ("?h=a.agora.io&p=", "?/"),
        ("?h=10.0.0.1&p=443", "?/"),
        ("?h=[::1]&p=443", "?/"),
        ("?h=0x7f.1&p=443", "?/"),
        ("?h=gateway&p=443", "?/"),
        ("?h=&p=443", "?/"),
    ] {
        for path in ["rs/", "ls/", "cs/", "ws/", "rs", "ws"] {
            assert_eq!(url(agora(path, query)).as_deref(), Some(wanted), "{query}");
        }
    }
    for query in [
        "",
        "?",
        "?h=a.agora.io",
        "?p=443",
        "?d=/x&h=a.agora.io&p=443",
        "?H=a.agora.io&P=443",
    ] {
        assert_eq!(agora("rs/", query), None, "{query}");
    }
    for path in ["", "xs/", "rs/x", "apx", "AP/", "rs//", "ws/x"] {
        assert_eq!(
            agora(path, "?h=a.agora.io&p=443&url=a.agora.io"),
            None,
            "{path}"
        );
    }
}

#[test]
fn an_access_point_alone_is_told_the_clients_address() {
    let told = |path, query| agora(path, query).map(|named| named.user_address);
    assert_eq!(told("ap/", "?url=a.agora.io/"), Some(true));
    assert_eq!(told("rs/", "?h=a.agora.io&p=443"), Some(false));
}

#[test]
fn the_unified_proxy_keeps_path_and_query_and_names_its_host_among_them() {
    for (rest, query, wanted) in [
        (
            "v2/ws",
            "?a=b&signalDomain=s.rtc-web.com&race=1",
            "s.rtc-web.com/v2/ws?a=b&signalDomain=s.rtc-web.com&race=1",
        ),
        (
            "",
            "?signalDomain=s.rtc-web.com",
            "s.rtc-web.com/?signalDomain=s.rtc-web.com",
        ),
        (
            "v2/ws",
            "?signalDomain=s.rtc-web.com:8687",
            "s.rtc-web.com:8687/v2/ws?signalDomain=s.rtc-web.com:8687",
        ),
        ("", "?signalDomain=127.0.0.1", "?/?signalDomain=127.0.0.1"),
        ("", "?signalDomain=", "?/?signalDomain="),
    ] {
        assert_eq!(url(trtc_unified(rest, query)).as_deref(), Some(wanted));
    }
    for (rest, query) in [
        ("", ""),
        ("v2/ws", "?signaldomain=s.rtc-web.com"),
        ("v2/ws/", "?signalDomain=s.rtc-web.com"),
        ("ws/", "?signalDomain=s.rtc-web.com"),
        ("v2/ws", "?xsignalDomain=s.rtc-web.com"),
    ] {
        assert_eq!(trtc_unified(rest, query), None, "{rest} {query}");
    }
}

proptest! {
    #[test]
    fn whatever_is_named_is_a_host_by_name_and_a_path(rest in "(ap|rs|ws|v2/ws|)/?", query in "[?]((url|h|p|d|signalDomain)=[!-~]{0,12}&?){0,4}") {
        for named in [agora(&rest, &query), trtc_unified(&rest, &query)].into_iter().flatten() {
            prop_assert!(named.path_and_query.starts_with('/'));
            if let Some(authority) = named.authority {
                prop_assert_eq!(Authority::parse(&authority.to_string()), Some(authority));
            }
        }
    }

    #[test]
    fn what_a_mount_and_a_path_name_is_what_they_were_made_of(host in "[a-z]{1,8}[.]agora[.]io", port in 1u16.., path in "/[a-z%.][a-z/%.]{0,9}([?][a-z&=?/]{0,9})?", told: bool) {
        let authority = Authority { host, port };
        let target = format!("{}{path}", agora_mount(&authority, told));
        let (rest, query) = target[1..].split_at(3);
        let wanted = Named { authority: Some(authority), path_and_query: path, user_address: told };
        prop_assert_eq!(agora(rest, query), Some(wanted));
    }
}
