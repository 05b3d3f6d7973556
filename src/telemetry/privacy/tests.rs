use super::*;

const PUBLIC: Reader = Reader { private: false };
const PRIVATE: Reader = Reader { private: true };

#[test]
fn tokens_in_paths_are_blanked_and_names_are_kept() {
    for (path, expected) in [
        ("/", "/"),
        ("/x", "/x"),
        ("/v2/ws", "/v2/ws"),
        ("/api/v3/calls/participants", "/api/v3/calls/participants"),
        ("/events/messages", "/events/messages"),
        (
            "/ecs.communication.microsoft.com/config/v1",
            "/ecs.communication.microsoft.com/config/v1",
        ),
        (
            "/relay-0123456789-abcdef.signalr.example.net:443/x",
            "/relay-0123456789-abcdef.signalr.example.net:443/x",
        ),
        ("/t/eyJhbGciOiJI.eyJzdWIi.c2ln/x", "/t/*/x"),
        ("/eyjhbgcioijiuzi1nij9.eyJzdWIiOiJhbGljZSJ9.com", "/*.*.com"),
        (
            "/calls/0f8fad5b-d9cb-469f-a165-70867728950e/end",
            "/calls/*/end",
        ),
        ("/user:password@api.example.com/x", "/*/x"),
        ("/x/token=abc/y", "/x/token=*/y"),
        ("/x;jsessionid=abc", "/x;jsessionid=*"),
        ("/skypetoken_0123456789abcdef", "/*"),
        (
            "/abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz",
            "/*",
        ),
        ("/%65%79%4a%68%62%47%63%69%4f%69%4a%49", "/*"),
    ] {
        let shown = shown("path", path.to_owned(), PUBLIC);
        assert_eq!(shown.as_deref(), Some(expected), "{path}");
    }
}

#[test]
fn a_private_path_is_the_host_that_was_asked_for_or_nothing() {
    for (path, expected) in [
        ("/evil.example.org/users/alice", "/evil.example.org/*"),
        ("/evil.example.org:8443", "/evil.example.org:8443"),
        ("/users/alice", "/*"),
        ("/127.0.0.77/x", "/*"),
        ("/alice@example.org/x", "/*"),
        ("/", "/*"),
    ] {
        let shown = shown("path", path.to_owned(), PRIVATE);
        assert_eq!(shown.as_deref(), Some(expected), "{path}");
    }
}

#[test]
fn hosts_are_shown_without_users_and_addresses_of_clients() {
    let host = |text: &str, reader| shown("host", text.to_owned(), reader);
    assert_eq!(
        host("api.example.com", PRIVATE).as_deref(),
        Some("api.example.com")
    );
    assert_eq!(
        host("alice:pw@api.example.com", PUBLIC).as_deref(),
        Some("*")
    );
    for address in [
        "127.0.0.77",
        "127.0.0.77:443",
        "[2001:db8::7]",
        "[2001:db8::7]:443",
    ] {
        assert_eq!(host(address, PUBLIC).as_deref(), Some(address));
        assert_eq!(host(address, PRIVATE), None, "{address}");
    }
}

#[test]
fn addresses_are_taken_out_of_private_prose() {
    for (text, expected) in [
        (
            "cannot bind 127.0.0.77:3478: in use",
            "cannot bind *: in use",
        ),
        ("from [2001:db8::7]:9, again", "from *, again"),
        ("peer ::1.", "peer *."),
        ("client=203.0.113.7", "client=*"),
        (
            "version 1.2.3 at 12:30:45, face: dead",
            "version 1.2.3 at 12:30:45, face: dead",
        ),
        ("", ""),
    ] {
        assert_eq!(PRIVATE.prose(text.to_owned()), expected);
        assert_eq!(PUBLIC.prose(text.to_owned()), text);
    }
}

#[test]
fn what_is_not_known_is_not_said_in_private() {
    assert_eq!(shown("nickname", "alice".to_owned(), PRIVATE), None);
    assert!(shown("nickname", "alice".to_owned(), PUBLIC).is_some());
}

/// Whoever adds a line of info or above decides here what its fields are.
#[test]
fn every_line_of_info_and_above_says_known_fields_and_fixed_text() {
    let mut count = 0;
    for (file, text) in sources() {
        for (place, call) in calls(&text) {
            count += 1;
            let place = format!("{file}:{}", line_of(&text, place));
            for part in parts(call) {
                check_part(part.trim(), &place);
            }
        }
    }
    assert!(count > 25, "{count} calls found");
}

fn check_part(part: &str, place: &str) {
    if part.is_empty() || part.starts_with("target:") {
        return;
    }
    if let Some(message) = part.strip_prefix('"') {
        assert!(
            !message.contains('{'),
            "{place}: a message is fixed text, and what varies is a field: {part}"
        );
        return;
    }
    let name = part.split_once('=').map_or(part, |(name, _)| name);
    let name = name.trim().trim_start_matches(['%', '?']);
    // `%connection.client` is logged under its whole path.
    assert!(
        class(name) != Class::Unknown,
        "{place}: say in src/telemetry/privacy.rs what the field `{name}` is about"
    );
}

/// Every source file but tests.
fn sources() -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut open = vec![std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            let name = path.display().to_string();
            if path.is_dir() && !name.ends_with("tests") {
                open.push(path);
            } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
                files.push((name, std::fs::read_to_string(&path).expect("text")));
            }
        }
    }
    files
}

/// Where each call begins, and what is between its brackets.
fn calls(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for name in ["info!(", "warn!(", "error!("] {
        for (at, _) in text.match_indices(name) {
            let before = text[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '`') {
                continue;
            }
            let body = &text[at + name.len()..];
            found.push((at, &body[..closing(body)]));
        }
    }
    found
}

/// Where the bracket ends that is open at the start.
fn closing(body: &str) -> usize {
    split(body, |c, depth| c == ')' && depth == 0)
        .first()
        .copied()
        .expect("the bracket is closed")
}

fn parts(call: &str) -> Vec<&str> {
    let mut begin = 0;
    let mut parts = Vec::new();
    for at in split(call, |c, depth| c == ',' && depth == 0) {
        parts.push(&call[begin..at]);
        begin = at + 1;
    }
    parts.push(&call[begin..]);
    parts
}

/// Places outside of strings that `wanted` picks, which hears of the depth of brackets.
fn split(text: &str, wanted: impl Fn(char, i32) -> bool) -> Vec<usize> {
    let (mut depth, mut quoted, mut escaped) = (0, false, false);
    let mut places = Vec::new();
    for (at, c) in text.char_indices() {
        if quoted {
            quoted = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        if wanted(c, depth) {
            places.push(at);
        }
        match c {
            '"' => quoted = true,
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
    }
    places
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}
