//! Secrets: where they come from, and that they are never shown.

use super::*;
use proptest::prelude::*;

#[test]
fn a_secret_file_loses_its_line_end_and_everybodys_right_to_read_it_is_warned_about() {
    use std::os::unix::fs::PermissionsExt;
    let dir = fresh_dir();
    let path = dir.join("secret");
    let text = "[tls]\nself_signed = true\n[turn]\nauth_secret = \"file:secret\"\n";
    for (content, mode, warnings) in [("s3cret\n", 0o644, 1), ("s3cret\r\n", 0o600, 0)] {
        std::fs::write(&path, content).expect("a file");
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&path, permissions).expect("a mode");
        let loaded = parse_in(&dir, text).unwrap_or_else(|report| panic!("{report}"));
        let secret = crate::secret::Secret::new("s3cret");
        assert_eq!(loaded.config.turn.auth_secrets, [secret]);
        assert_eq!(loaded.warnings.len(), warnings, "{:#?}", loaded.warnings);
    }
    for (content, message) in [
        ("", "is empty"),
        ("\n", "is empty"),
        ("a\nb\n", "more than one line"),
    ] {
        std::fs::write(&path, content).expect("a file");
        let report = parse_in(&dir, text).expect_err("a bad secret");
        assert!(report.to_string().contains(message), "{report}");
    }
}

#[test]
fn a_file_with_secrets_that_everybody_may_read_is_warned_about() {
    use std::os::unix::fs::PermissionsExt;
    let dir = fresh_dir();
    let path = dir.join("relay.toml");
    for (text, mode, warned) in [
        (SELF_SIGNED, 0o644, true),
        (SELF_SIGNED, 0o640, false),
        (
            "[tls]\nself_signed = true\n[turn]\nauth_secret = \"env:S\"",
            0o644,
            false,
        ),
    ] {
        std::fs::write(&path, text).expect("a file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("a mode");
        let loaded = load(&path, &|_| Some("s".to_owned())).unwrap_or_else(|r| panic!("{r}"));
        let found = loaded
            .warnings
            .iter()
            .any(|w| w.message.contains("holds secrets"));
        assert_eq!(found, warned, "{mode:o}");
    }
}

#[test]
fn every_secret_key_is_hidden_where_the_syntax_is_broken() {
    let config = parse_text(SELF_SIGNED).expect("valid").config;
    let keys = entries::secret_keys(&config);
    assert!(keys.contains(&"tls.acme.external_account_key"), "{keys:?}");
    for path in keys {
        assert!(source::speaks_of_secrets(path), "{path}");
        let (table, key) = path.rsplit_once('.').expect("a table and a key");
        let (above, name) = table.rsplit_once('.').unwrap_or(("", table));
        let above = match above {
            "" => String::new(),
            above => format!("[{above}]\n"),
        };
        for text in [
            format!("[{table}]\n{key} = \"S3CRET\n"),
            format!("[{table}]\n{key} = [\n\"S3CRET\n"),
            format!("[{table}]\n{key} \"S3CRET\"\n"),
            format!("{above}{name} = {{ {key} = \"S3CRET\n"),
            format!("{above}{name} = {{ x = 1, {key} = \"S3CRET }}\n"),
            format!("{path} = \"S3CRET\n"),
        ] {
            let report = parse_text(&text).expect_err("broken");
            assert!(
                !format!("{report} {report:?}").contains("S3CRET"),
                "{text}\n{report}"
            );
        }
    }
}

proptest! {
    /// Whatever is wrong around it, a secret is neither in a report nor in `Debug` of the configuration.
    #[test]
    fn no_secret_is_ever_shown(
        secret in "S3CRET[a-zA-Z0-9=+/ ]{4,40}E",
        shape in 0_usize..22,
        noise in prop::sample::select(vec!["", "[server]\ndomian = 1\n", "x = \n", "[proxy]\nallow = [\"*\"\n"]),
    ) {
        let value = match shape {
            0 => format!("[turn]\nusers = {{ alice = \"{secret}\" }}\n"),
            1 => format!("[turn]\nuser = {{ alice = \"{secret}\" }}\n"),
            2 => format!("[turn]\nusers = [\"{secret}\"]\n"),
            3 => format!("[turn]\nusers = \"alice:{secret}\"\n"),
            4 => format!("[turn.users]\nalice = \"{secret}\n"),
            5 => format!("[turn.users]\nalice = {secret}\n"),
            6 => format!("[turn.users]\nalice \"{secret}\"\n"),
            7 => format!("[turn]\nauth_secret = [\"{secret}\", 5]\n"),
            8 => format!("[turn]\nauth_secret = [\n  \"{secret}\",\n  \"{secret}\n]\n"),
            9 => format!("[turn]\nauth-secret = \"{secret}\"\nrelay_ports = 5\n"),
            10 => format!("[turn]\nusers = {{ alice = \"key:{secret}\" }}\n"),
            11 => format!("[turn]\nstatic_auth = \"{secret}\"\n"),
            12 => format!("[coturn]\nx = [{{ y = \"{secret}\" }}]\n"),
            13 => format!("[[proxy.route]]\nprefix = \"/a\"\nupstream = \"https://me:{secret}@a.example/\"\n"),
            16 => format!("[credentials]\ntokens = [\"{secret}\", 5]\n"),
            17 => format!("[credentials]\njwt_hs256 = \"{secret}\nttl = 1\n"),
            18 => format!("[credentials]\njwt_rs256 = \"-----BEGIN PRIVATE KEY-----{secret}\"\n"),
            19 => format!("[tls.acme]\nexternal_account_key = \"{secret}\n"),
            20 => format!("[tls]\nacme = {{ names = [\"a.example\"], external_account_key = \"{secret}\n"),
            21 => format!("[tls.acme]\nexternal_account_key = [\"{secret}\", 5]\n"),
            14 => format!("[turn]\nusers = {{ alice = \"{secret}\", bob = }}\n"),
            _ => format!("[tls]\nkey = \"-----BEGIN PRIVATE KEY-----{secret}\"\n"),
        };
        for text in [format!("{noise}{value}"), format!("{value}{noise}")] {
            let shown = match parse_text(&text) {
                Ok(loaded) => format!("{:?} {:?}", loaded.config, loaded.warnings),
                Err(report) => format!("{report} {report:?}"),
            };
            prop_assert!(!shown.contains("S3CRET"), "{}\n---\n{}", text, shown);
            prop_assert!(!shown.contains(&secret[6..]), "{}\n---\n{}", text, shown);
        }
    }

    /// Bytes of any kind give a configuration or a report, never a panic.
    #[test]
    fn any_text_is_answered(text in "(?s).{0,200}") {
        let _ = parse_text(&text).map_err(|report| report.to_string());
    }

    /// The same for files that are nearly right.
    #[test]
    fn a_damaged_reference_is_answered(at in 0_usize..8000, insert in "[\\[\\]{}=\"'\n#a0.,]{0,3}") {
        let at = REFERENCE.floor_char_boundary(at);
        let text = format!("{}{insert}{}", &REFERENCE[..at], REFERENCE.get(at + 1..).unwrap_or(""));
        let report = parse_text(&text).expect_err("no certificate at least").to_string();
        prop_assert!(report.contains("error: "));
    }
}
