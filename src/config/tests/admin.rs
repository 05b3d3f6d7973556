//! `[admin]`: a token for every address that is not loopback, and what is shown of a configuration.

use super::*;

fn admin_lines(lines: &str) -> Result<Loaded, Report> {
    let dir = fresh_dir();
    std::fs::write(dir.join("token"), "correct-horse-battery\n").expect("a file");
    std::fs::write(dir.join("short"), "horse").expect("a file");
    std::fs::write(dir.join("spaces"), "correct horse battery").expect("a file");
    parse_in(&dir, &format!("{SELF_SIGNED}[admin]\n{lines}"))
}

#[test]
fn an_address_of_the_network_needs_a_token_and_the_report_says_how_to_get_one() {
    for listen in ["0.0.0.0:9641", "[::]:9641", "192.0.2.1:9641"] {
        let lines = format!("listen = \"{listen}\"");
        let report = admin_lines(&lines).expect_err(listen).to_string();
        for said in [
            "`admin.listen`",
            "token = \"file:PATH\"",
            "openssl rand",
            "127.0.0.1:9641",
        ] {
            assert!(report.contains(said), "{said} in {report}");
        }
        let loaded = admin_lines(&format!("{lines}\ntoken = \"file:token\"")).expect(listen);
        assert!(loaded.config.admin.token.is_some());
        let warned = loaded
            .warnings
            .iter()
            .any(|w| w.message.contains("without TLS"));
        assert!(warned, "{:?}", loaded.warnings);
    }
    let loopback = admin_lines("listen = \"[::ffff:127.0.0.1]:9641\"").expect("loopback");
    assert_eq!(loopback.config.admin.token, None);
}

#[test]
fn a_token_comes_from_a_file_or_variable_and_is_long_enough_to_send() {
    let refused = |token: &str, said: &str| {
        let lines = format!("listen = \"0.0.0.0:9641\"\ntoken = {token}");
        let report = admin_lines(&lines).expect_err(token);
        let is_error = |problem: &&Problem| problem.severity == Severity::Error;
        let errors = report.problems.iter().filter(is_error).count();
        assert_eq!(errors, 1, "one error for {token}: {report}");
        let report = report.to_string();
        assert!(report.contains(said), "{said} in {report}");
        assert!(!report.contains("battery"), "{report}");
    };
    refused("\"correct-horse-battery\"", "in the file itself");
    refused("\"file:short\"", "too short");
    refused("\"file:spaces\"", "bearer token");
    refused("\"file:nothing\"", "no such file");
    refused("\"env:NOTHING\"", "not set");
    refused("7", "wrong type");
}

#[test]
fn what_is_shown_has_every_key_with_its_origin_and_no_secret() {
    let text = "[tls]\nself_signed = true\n[turn]\nusers = { alice = \"a long password\", bob = \"env:ALICE\" }\n\
        auth_secret = [\"shared secret\"]\nmax_lifetime = \"30m\"\n\
        [[proxy.route]]\nprefix = \"/ws/\"\nupstream = \"https://a.example/\"\n[proxy.limits]\nredirects = 0x2\n";
    let shown = parse_text(text)
        .unwrap_or_else(|r| panic!("{r}"))
        .config
        .shown;
    let value = |key: &str| {
        let shown = shown.values.get(key).unwrap_or_else(|| panic!("{key}"));
        (shown.value.clone(), shown.from)
    };
    use serde_json::json;
    let users = json!({"alice": "***", "bob": "env:ALICE"});
    assert_eq!(value("turn.users"), (users, Origin::File));
    assert_eq!(value("turn.auth_secret"), (json!(["***"]), Origin::File));
    assert_eq!(value("turn.max_lifetime"), (json!("30m"), Origin::File));
    assert_eq!(value("proxy.limits.redirects"), (json!(2), Origin::File));
    let routes = json!([{"prefix": "/ws/", "upstream": "https://a.example/"}]);
    assert_eq!(value("proxy.route"), (routes, Origin::File));
    assert_eq!(
        value("turn.default_lifetime"),
        (json!("10m"), Origin::Default)
    );
    assert_eq!(value("turn.peers.allow"), (json!([]), Origin::Default));
    assert_eq!(value("proxy.resolve"), (json!({}), Origin::Default));
    assert_eq!(value("server.domain"), (json!(null), Origin::Default));
    assert!(shown.values.len() > 80, "{}", shown.values.len());
}
