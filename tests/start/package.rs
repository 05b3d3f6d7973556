//! The Debian package: installed, started, upgraded, removed and purged in a root directory of its own, and what is in it.

use super::network;
use super::notify::Manager;
use super::process::{Serving, run};
use super::root::{self, Root};
use super::web::relayd::Directory;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

#[path = "../../examples/manual.rs"]
#[allow(dead_code)]
mod manual;

const SOURCE: &str = env!("CARGO_MANIFEST_DIR");
/// What an operator makes of the configuration.
const EDITED: &str = "# mine\n[server]\ndomain = \"relay.example.com\"\n[listen]\ntls = \"127.0.0.1:443\"\n\
                      [tls]\nself_signed = true\n[turn]\nusers = { alice = \"file:password\" }\n";

/// The package of this build under two versions.
struct Packages {
    dir: Directory,
}

impl Packages {
    /// Only the binary is not a release's: it is the one that the tests run, without its debug information.
    fn build() -> Self {
        let packages = Self {
            dir: Directory::new(),
        };
        fs::create_dir_all(packages.dir.path("release")).expect("a directory");
        succeed(
            Command::new("strip")
                .arg("-o")
                .arg(packages.dir.path("release/relayd"))
                .arg(env!("CARGO_BIN_EXE_relayd")),
        );
        manual::write(&Path::new(SOURCE).join("target/manual")).expect("manual pages");
        for (name, revision) in [("old.deb", "1"), ("new.deb", "2")] {
            let version = format!("{}-{revision}", env!("CARGO_PKG_VERSION"));
            let mut command = Command::new(root::cached("tools/bin/cargo-deb"));
            command
                .args([
                    "--offline",
                    "--locked",
                    "--no-build",
                    "--no-strip",
                    "--no-dbgsym",
                ])
                .args(["--fast", "--deb-version", &version, "--output"])
                .arg(packages.dir.path(name))
                .current_dir(SOURCE)
                .env("CARGO", env!("CARGO"))
                .env("CARGO_TARGET_DIR", packages.dir.path(""));
            succeed(&mut command);
        }
        packages
    }

    fn install(&self, root: &Root, name: &str) -> String {
        fs::copy(self.dir.path(name), root.path("/tmp/relayd.deb")).expect("a copy");
        root.run(&["dpkg", "--install", "/tmp/relayd.deb"])
    }
}

fn succeed(command: &mut Command) {
    let ended = run(command);
    assert_eq!(ended.code, Some(0), "{command:?}: {ended:#?}");
}

/// Every file of /etc/relayd: content, mode, owner, group, time of its last change.
type Snapshot = BTreeMap<String, (Vec<u8>, u32, u32, u32, i64)>;

fn configuration(root: &Root) -> Snapshot {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(root.path("/etc/relayd")).expect("it is there") {
        let path = entry.expect("an entry").path();
        let about = fs::metadata(&path).expect("a file");
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let bytes = fs::read(&path).expect("a file");
        let (mode, uid, gid) = (about.mode() & 0o7777, about.uid(), about.gid());
        files.insert(name, (bytes, mode, uid, gid, about.mtime_nsec()));
    }
    files
}

fn unit_setting(root: &Root, name: &str) -> String {
    let unit = fs::read_to_string(root.path("/usr/lib/systemd/system/relayd.service"));
    let unit = unit.expect("the unit is installed");
    let mut lines = unit.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("no {name}=")).to_owned()
}

/// The words before a command that make it run as the unit's user, with the unit's capability.
fn as_the_unit(root: &Root) -> Vec<String> {
    assert_eq!(
        unit_setting(root, "AmbientCapabilities"),
        "CAP_NET_BIND_SERVICE"
    );
    let user = unit_setting(root, "User");
    let words = format!(
        "setpriv --reuid={user} --regid={} --init-groups --bounding-set=-all,+net_bind_service \
         --inh-caps=-all,+net_bind_service --ambient-caps=-all,+net_bind_service --no-new-privs",
        unit_setting(root, "Group")
    );
    words.split(' ').map(str::to_owned).collect()
}

/// Starts the unit's command as its user, asks for its health, stops it.
fn serve_once(root: &Root) {
    let manager = Manager::new();
    let mut line = as_the_unit(root);
    let prefix = line.clone();
    line.extend(
        unit_setting(root, "ExecStart")
            .split(' ')
            .map(str::to_owned),
    );
    let words: Vec<&str> = line.iter().map(String::as_str).collect();
    let mut command = root.command(&words);
    command.env("NOTIFY_SOCKET", &manager.name);
    let mut serving = Serving::start(&mut command, " serving ");
    manager.wait_for("READY=1");
    let mut health: Vec<&str> = prefix.iter().map(String::as_str).collect();
    health.extend([
        "relayd",
        "health",
        "--ready",
        "--config",
        "/etc/relayd/relay.toml",
    ]);
    assert!(root.run(&health).contains("\"ready\":true"));
    assert_eq!(serving.stop(), Some(0));
    manager.wait_for("STOPPING=1");
}

#[test]
fn the_package_is_installed_started_upgraded_and_removed_and_the_configuration_is_the_operators() {
    const NAME: &str = "package::the_package_is_installed_started_upgraded_and_removed_and_the_configuration_is_the_operators";
    network::with_users(NAME, || {
        let packages = Packages::build();
        let root = Root::new();
        packages.install(&root, "old.deb");
        let made = configuration(&root);
        let names: Vec<&String> = made.keys().collect();
        assert_eq!(names, ["relay.toml", "secret"]);
        assert!(
            made.values()
                .all(|(_, mode, uid, ..)| (*mode, *uid) == (0o640, 0))
        );
        let secret = &made["secret"].0;
        assert!(secret.len() == 64 && secret.iter().all(u8::is_ascii_hexdigit));
        let group = fs::metadata(root.path("/etc/relayd"))
            .expect("it is there")
            .gid();
        assert_ne!(group, 0);
        serve_once(&root);
        assert_eq!(configuration(&root), made);
        let listed = root.run(&[
            "dpkg-query",
            "--show",
            "--showformat=${Conffiles}",
            "relayd",
        ]);
        assert_eq!(
            listed, "",
            "dpkg asks nobody about files that are not its own"
        );

        // The operator's changes: contents, a mode, a file more, and the generated secret gone.
        let path = |name: &str| root.path(&format!("/etc/relayd/{name}"));
        fs::write(path("relay.toml"), EDITED).expect("written");
        fs::write(path("password"), "wonderland\n").expect("written");
        fs::set_permissions(path("password"), fs::Permissions::from_mode(0o440)).expect("set");
        chown(path("password"), None, Some(group)).expect("set");
        fs::remove_file(path("secret")).expect("removed");
        let mine = configuration(&root);

        let said = packages.install(&root, "new.deb");
        assert!(said.contains("-2) over ("), "{said}");
        assert_eq!(configuration(&root), mine, "after an upgrade");
        serve_once(&root);
        root.run(&["dpkg", "--remove", "relayd"]);
        assert_eq!(configuration(&root), mine, "after a removal");
        assert!(!root.path("/usr/bin/relayd").exists());
        assert!(!root.path("/usr/share/relayd").exists());
        root.run(&["dpkg", "--purge", "relayd"]);
        assert_eq!(configuration(&root), mine, "after a purge");
        packages.install(&root, "old.deb");
        assert_eq!(configuration(&root), mine, "after a second installation");
        fs::remove_file(path("relay.toml")).expect("removed");
        packages.install(&root, "new.deb");
        assert!(
            !path("relay.toml").exists(),
            "what was deleted stays deleted"
        );

        the_scripts_talk_to_systemd(&packages, &root);
        the_rest_is_in_its_places(&root);
    });
}

/// With a systemctl that only writes down what it is told.
fn the_scripts_talk_to_systemd(packages: &Packages, root: &Root) {
    fs::create_dir_all(root.path("/run/systemd/system")).expect("a directory");
    let pretend = |version: u32| {
        for name in ["systemctl", "deb-systemd-invoke"] {
            let path = root.path(&format!("/usr/local/bin/{name}"));
            let script = format!(
                "#!/bin/sh\n[ \"$1\" != --version ] || exec echo 'systemd {version} ({version}.1-1)'\n\
                 echo {name} \"$@\" >>/tmp/told\n"
            );
            fs::write(&path, script).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("set");
        }
        let _ = fs::remove_file(root.path("/tmp/told"));
    };
    let told = || fs::read_to_string(root.path("/tmp/told")).expect("something was told");
    let drop_in = root.path("/usr/lib/systemd/system/relayd.service.d/systemd-252.conf");
    assert!(!drop_in.exists(), "without systemd");

    pretend(252);
    packages.install(root, "new.deb");
    assert!(drop_in.exists(), "a systemd without notify-reload");
    assert!(told().contains("systemctl daemon-reload\n"), "{}", told());
    assert!(
        told().contains("systemctl kill --signal=SIGUSR2 --kill-who=main relayd.service\n"),
        "{}",
        told()
    );
    assert!(
        !told().contains("stop"),
        "an upgrade does not stop it first"
    );
    pretend(257);
    packages.install(root, "new.deb");
    assert!(!drop_in.exists(), "a systemd with notify-reload");
    pretend(252);
    packages.install(root, "new.deb");
    pretend(252);
    root.run(&["dpkg", "--remove", "relayd"]);
    assert!(
        told().starts_with("deb-systemd-invoke stop relayd.service\n"),
        "{}",
        told()
    );
    assert!(told().contains("disable relayd.service\n"), "{}", told());
    assert!(!drop_in.exists(), "after the removal");
    packages.install(root, "old.deb");
}

fn the_rest_is_in_its_places(root: &Root) {
    let commands = [
        "check",
        "credential",
        "default-config",
        "health",
        "snippet",
        "vendors",
    ];
    let mut files = vec![
        "/usr/share/man/man5/relay.toml.5.gz".to_owned(),
        "/usr/share/man/man1/relayd.1.gz".to_owned(),
        "/usr/share/bash-completion/completions/relayd".to_owned(),
        "/usr/share/zsh/vendor-completions/_relayd".to_owned(),
        "/usr/share/fish/vendor_completions.d/relayd.fish".to_owned(),
        "/usr/share/doc/relayd/copyright".to_owned(),
        "/usr/share/doc/relayd/changelog.Debian.gz".to_owned(),
        "/usr/share/doc/relayd/examples/minimal.toml".to_owned(),
        "/usr/lib/sysusers.d/relayd.conf".to_owned(),
    ];
    files.extend(commands.map(|name| format!("/usr/share/man/man1/relayd-{name}.1.gz")));
    for file in files {
        let about =
            fs::metadata(root.path(&file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert_eq!((about.mode() & 0o777, about.uid()), (0o644, 0), "{file}");
    }
    for (shell, file) in [
        ("bash", "/usr/share/bash-completion/completions/relayd"),
        ("fish", "/usr/share/fish/vendor_completions.d/relayd.fish"),
    ] {
        let text = fs::read_to_string(root.path(file)).expect("text");
        for word in commands.iter().chain(&["ready", "config"]) {
            assert!(text.contains(word), "{shell}: {word}");
        }
    }
    root.run(&[
        "bash",
        "-n",
        "/usr/share/bash-completion/completions/relayd",
    ]);
    let depends = root.run(&["dpkg-query", "--show", "--showformat=${Depends}", "relayd"]);
    assert!(depends.contains("libc6 (>= 2."), "{depends}");
    assert!(depends.contains("systemd-sysusers"), "{depends}");
}
