//! The systemd unit and the image's files, as far as they can be held to their word without systemd and without a container
//! engine running; `image` runs a container's process, `notify` hears what systemd would.

use super::network;
use super::notify::Manager;
use super::process::{Serving, run};
use super::site::Site;
use super::support::client::{Client, Kind, Wire};
use super::web::relayd::Directory;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

const UNIT: &str = include_str!("../../config/relayd.service");
/// The drop-in for systemd that does not know Type=notify-reload.
const OLD_SYSTEMD: &str = include_str!("../../config/relayd.service.d/systemd-252.conf");
/// The first systemd that does.
const NOTIFY_RELOAD_SINCE: u32 = 253;
const DOCKERFILE: &str = include_str!("../../Dockerfile");
const DOCKERIGNORE: &str = include_str!("../../.dockerignore");
const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// "nobody" everywhere: the rights of a user that owns nothing.
const NOBODY: u32 = 65_534;

fn setting(name: &str) -> &'static str {
    let value = UNIT
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("the unit has no {name}="))
}

/// Needs systemd-analyze (package systemd), not a running systemd.
#[test]
fn systemd_has_nothing_to_say_against_the_unit() {
    let version = run(Command::new("systemd-analyze").arg("--version")).stdout;
    let version = version
        .split_whitespace()
        .nth(1)
        .expect("systemd and a number");
    let is_old = version.parse::<u32>().expect("a number") < NOTIFY_RELOAD_SINCE;
    let newest = verify(UNIT, None);
    let old = verify(UNIT, Some(OLD_SYSTEMD));
    // It does read the drop-in.
    let nonsense = verify(UNIT, Some("[Service]\nNonsense=yes\n"));
    assert_eq!(nonsense.len(), newest.len() + 1, "{nonsense:?}");
    if is_old {
        // It leaves the line that it does not know, and keeps what it knows of the drop-in.
        for said in [&newest, &old] {
            assert_eq!(said.len(), 1, "{said:?}");
            assert!(
                said[0].contains("service type, ignoring: notify-reload"),
                "{said:?}"
            );
        }
        assert_eq!(verify(&plain(UNIT), None), Vec::<String>::new());
    } else {
        assert_eq!(newest, Vec::<String>::new());
        assert_eq!(old, Vec::<String>::new());
    }
}

/// The unit as an old systemd has it, with its drop-in.
fn plain(unit: &str) -> String {
    let without = unit.replace("Type=notify-reload\n", "");
    assert_ne!(without, unit);
    let settings = OLD_SYSTEMD.split("[Service]\n").nth(1).expect("a table");
    without.replace("[Service]\n", &format!("[Service]\n{settings}"))
}

/// What systemd says of this unit, with relayd where the build has put it.
fn verify(unit: &str, drop_in: Option<&str>) -> Vec<String> {
    let dir = Directory::new();
    let found = unit.replace(
        "ExecStart=relayd",
        concat!("ExecStart=", env!("CARGO_BIN_EXE_relayd")),
    );
    assert_ne!(found, unit);
    dir.write("relayd.service", &found);
    if let Some(drop_in) = drop_in {
        fs::create_dir_all(dir.path("relayd.service.d")).expect("a directory");
        dir.write("relayd.service.d/old.conf", drop_in);
    }
    let ended = run(Command::new("systemd-analyze")
        .arg("verify")
        .arg(dir.path("relayd.service")));
    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert_eq!(ended.code, Some(0), "{said}");
    let ours = said.lines().filter(|line| line.contains("relayd"));
    ours.map(str::to_owned).collect()
}

/// User=, AmbientCapabilities=, CapabilityBoundingSet=, NoNewPrivileges= and Type= of the unit, by setpriv and a notify
/// socket.
#[test]
fn the_units_command_serves_port_443_as_a_user_without_other_privileges() {
    network::alone(
        "packaging::the_units_command_serves_port_443_as_a_user_without_other_privileges",
        &[],
        || {
            assert_eq!(setting("AmbientCapabilities"), "CAP_NET_BIND_SERVICE");
            assert_eq!(setting("CapabilityBoundingSet"), "CAP_NET_BIND_SERVICE");
            assert_eq!(setting("NoNewPrivileges"), "yes");
            assert_ne!(setting("User"), "root");
            let site = Site::with(&[
                ("tls = [\"127.0.0.1:0\"]", "tls = [\"127.0.0.1:443\"]"),
                ("udp = [\"127.0.0.1:0\"]", "udp = [\"127.0.0.1:3478\"]"),
            ]);
            let home = Reachable::new(&site);
            let line = setting("ExecStart").replace("/etc/relayd", &home.0.display().to_string());
            let line = format!("{}/{line}", home.0.display());
            let mut command = Command::new("setpriv");
            if is_mapped(NOBODY) {
                command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
            }
            command
                .args([
                    "--bounding-set=-all,+net_bind_service",
                    "--inh-caps=-all,+net_bind_service",
                    "--ambient-caps=-all,+net_bind_service",
                    "--no-new-privs",
                ])
                .args(line.split(' '));
            command.current_dir(setting("WorkingDirectory"));
            let manager = Manager::new();
            command.env("NOTIFY_SOCKET", &manager.name);
            let mut serving = Serving::start(&mut command, "\"serving\"");
            assert_eq!(setting("Type"), "notify-reload");
            manager.wait_for("READY=1");
            let status = fs::read_to_string(format!("/proc/{}/status", serving.pid()));
            let status = status.expect("it lives");
            // CAP_NET_BIND_SERVICE is bit 10 (capabilities(7)).
            assert!(status.contains("CapEff:\t0000000000000400\n"), "{status}");
            let tls = "127.0.0.1:443".parse().expect("an address");
            let wire = Wire::open(Kind::Tls, tls).expect("it listens");
            let mut client = Client::new(wire, "alice", "s3cret-of-alice");
            client.allocate().expect("it relays");
            drop(client);
            // ReloadSignal= is SIGHUP if the unit does not say otherwise; an old systemd runs the drop-in's ExecReload=.
            assert!(!UNIT.contains("ReloadSignal="));
            assert!(OLD_SYSTEMD.ends_with("ExecReload=/bin/kill -HUP $MAINPID\n"));
            let pid = serving.pid().to_string();
            let sent = Command::new("/bin/kill").args(["-HUP", &pid]).status();
            assert!(sent.expect("kill runs").success());
            serving.wait_for("\"reloaded\"");
            manager.wait_for("RELOADING=1");
            manager.wait_for("READY=1");
            assert_eq!(serving.stop(), Some(0));
        },
    );
}

#[test]
fn the_unit_leaves_time_to_drain_and_does_not_restart_a_bad_configuration() {
    assert_eq!(setting("RestartPreventExitStatus"), "64");
    assert_eq!(setting("KillSignal"), "SIGTERM");
    let seconds = setting("TimeoutStopSec")
        .strip_suffix('s')
        .expect("seconds");
    let seconds: u32 = seconds.parse().expect("a number");
    let reference = include_str!("../../config/relay.toml");
    assert!(reference.contains("\ndrain_timeout = \"60s\"\n"));
    assert!(seconds > 60, "{seconds}");
}

/// Whether this network's user namespace has that user; without root it has one user only.
fn is_mapped(uid: u32) -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.lines().any(|line| {
        let mut numbers = line
            .split_whitespace()
            .filter_map(|n| n.parse::<u64>().ok());
        let (first, _, count) = (numbers.next(), numbers.next(), numbers.next());
        let last = first.zip(count).map(|(first, count)| first..first + count);
        last.is_some_and(|range| range.contains(&u64::from(uid)))
    })
}

/// A directory as the README has it made: root's, readable for the group that relayd runs in. The binary is in it, too.
struct Reachable(PathBuf);

impl Reachable {
    fn new(site: &Site) -> Self {
        let dir = std::env::temp_dir().join(format!("relayd-unit-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a directory");
        let home = Self(dir);
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
        };
        let group = |path: &Path, bits| {
            if is_mapped(NOBODY) {
                chown(path, None, Some(NOBODY)).expect("root may");
            }
            mode(path, bits);
        };
        let binary = home.0.join("relayd");
        fs::copy(env!("CARGO_BIN_EXE_relayd"), &binary).expect("a copy");
        mode(&binary, 0o755);
        for name in ["relay.toml", "fullchain.pem", "privkey.pem"] {
            let path = home.0.join(name);
            fs::copy(site.path(name), &path).expect("a copy");
            group(&path, 0o640);
        }
        group(&home.0, 0o750);
        home
    }
}

impl Drop for Reachable {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// An instruction of the Dockerfile: its word and the rest, continued lines joined.
pub struct Instruction {
    pub word: String,
    pub rest: String,
}

/// The stages, each from its FROM.
pub fn stages() -> Vec<Vec<Instruction>> {
    let lines = DOCKERFILE.lines().filter(|line| !line.starts_with('#'));
    let joined = lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    let mut stages = Vec::new();
    for line in joined.lines().filter(|line| !line.trim().is_empty()) {
        let (word, rest) = line.split_once(' ').expect("an instruction");
        if word == "FROM" {
            stages.push(Vec::new());
        }
        let instruction = Instruction {
            word: word.to_owned(),
            rest: rest.trim().to_owned(),
        };
        stages
            .last_mut()
            .expect("FROM comes first")
            .push(instruction);
    }
    stages
}

fn rest_of<'a>(stage: &'a [Instruction], word: &str) -> &'a str {
    let found = stage.iter().find(|instruction| instruction.word == word);
    &found.unwrap_or_else(|| panic!("no {word}")).rest
}

/// Whether the engine is given this path: the last pattern that fits decides.
fn is_sent(path: &str) -> bool {
    let fits = |pattern: &str| {
        let mut parts = path.split('/');
        pattern.split('/').all(|wanted| {
            parts
                .next()
                .is_some_and(|part| wanted == "*" || wanted == part)
        })
    };
    let lines = DOCKERIGNORE.lines().filter(|line| !line.is_empty());
    lines.fold(true, |sent, line| match line.strip_prefix('!') {
        Some(pattern) => sent || fits(pattern),
        None => sent && !fits(line),
    })
}

fn copy_into(from: &Path, to: &Path) {
    if from.is_dir() {
        for entry in fs::read_dir(from).expect("a directory") {
            let entry = entry.expect("an entry");
            copy_into(&entry.path(), &to.join(entry.file_name()));
        }
        return;
    }
    fs::create_dir_all(to.parent().expect("a directory")).expect("a directory");
    fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
}

/// COPY as the engine does it: a directory's contents, files into a directory that ends in a slash.
fn copy(rest: &str, image: &Path) {
    let mut sources: Vec<&str> = rest.split_whitespace().collect();
    let target = sources.pop().expect("a target");
    for source in sources {
        assert!(is_sent(source), ".dockerignore keeps {source} back");
        let from = Path::new(ROOT).join(source);
        let into = image.join(target);
        match (from.is_dir(), target.ends_with('/')) {
            (false, true) => copy_into(&from, &into.join(from.file_name().expect("a name"))),
            (true, _) | (false, false) => copy_into(&from, &into),
        }
    }
}

/// Every instruction of the build stage on a copy, with a cargo that loads the workspace and its lock file as a build
/// does, and stops there.
#[test]
fn the_images_build_stage_has_every_file_that_cargo_wants() {
    let dir = Directory::new();
    let (image, bin) = (dir.path("image"), dir.path("bin"));
    fs::create_dir_all(&image).expect("a directory");
    fs::create_dir_all(&bin).expect("a directory");
    let stub = |name: &str, script: &str| {
        let path = bin.join(name);
        fs::write(&path, script).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
    };
    stub(
        "cargo",
        "#!/bin/sh\nset -e\n[ \"$*\" = 'build --release --locked' ]\nmkdir -p target/release\n\
         $REAL_CARGO tree --locked --offline -e normal,build > target/release/relayd\n",
    );
    stub(
        "setcap",
        "#!/bin/sh\nset -e\n[ \"$1\" = cap_net_bind_service=+ep ]\ntest -s \"$2\"\n",
    );
    let path = format!(
        "{}:{}",
        bin.display(),
        std::env::var("PATH").expect("a path")
    );
    let stages = stages();
    let mut builds = 0;
    for instruction in &stages[0] {
        match instruction.word.as_str() {
            "COPY" => copy(&instruction.rest, &image),
            "RUN" if instruction.rest.contains("cargo") => {
                let script = &instruction.rest;
                assert!(
                    !script.contains(" /"),
                    "only the build's own directory: {script}"
                );
                let ended = run(Command::new("sh")
                    .args(["-e", "-c", script])
                    .current_dir(&image)
                    .env("PATH", &path)
                    .env("REAL_CARGO", env!("CARGO")));
                assert_eq!(ended.code, Some(0), "{script}: {ended:#?}");
                builds += 1;
            }
            _ => {}
        }
    }
    assert_eq!(builds, 2, "the dependencies, then relayd");
    for file in included() {
        assert!(
            image.join(&file).is_file(),
            "{} is compiled in",
            file.display()
        );
    }
    let built = rest_of(&stages[1], "COPY");
    assert!(
        built.starts_with("--from=build /src/target/release/relayd "),
        "{built}"
    );
    assert_eq!(rest_of(&stages[0], "WORKDIR"), "/src");
}

/// Files that sources name in `include_str!` and `include_bytes!`, tests left out.
fn included() -> BTreeSet<PathBuf> {
    fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).expect("a directory") {
            let path = entry.expect("an entry").path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            if path.is_dir() && name != "tests" {
                sources(&path, found);
            } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
                found.push(path);
            }
        }
    }
    let mut files = Vec::new();
    sources(&Path::new(ROOT).join("src"), &mut files);
    let mut included = BTreeSet::new();
    for source in files {
        let text = fs::read_to_string(&source).expect("text");
        for (at, _) in text
            .match_indices("include_str!(\"")
            .chain(text.match_indices("include_bytes!(\""))
        {
            let quoted = text[at..].split('"').nth(1).expect("a path");
            let full = source.parent().expect("a directory").join(quoted);
            let full = full.canonicalize().expect("it exists");
            let root = Path::new(ROOT).canonicalize().expect("it exists");
            included.insert(full.strip_prefix(root).expect("ours").to_owned());
        }
    }
    assert!(!included.is_empty());
    included
}

#[test]
fn the_image_has_what_the_binary_needs_and_no_root() {
    let stages = stages();
    let [build, last] = &stages[..] else {
        panic!("{} stages", stages.len());
    };
    let (build_from, last_from) = (rest_of(build, "FROM"), rest_of(last, "FROM"));
    let release = last_from
        .strip_prefix("debian:")
        .and_then(|image| image.strip_suffix("-slim"));
    let release = release.expect("Debian without extras");
    assert!(
        build_from.contains(release),
        "one C library for both: {build_from}, {last_from}"
    );
    let minimum = env!("CARGO_PKG_RUST_VERSION");
    assert!(
        build_from.starts_with(&format!("rust:{minimum}-")),
        "{build_from}"
    );

    // What Debian's libc6 brings: it depends on libgcc-s1.
    let ended = run(Command::new("ldd").arg(env!("CARGO_BIN_EXE_relayd")));
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    for line in ended.stdout.lines() {
        let library = line.split_whitespace().next().expect("a name");
        let file = library.rsplit('/').next().expect("a name");
        let known = [
            "linux-vdso.so",
            "libc.so",
            "libm.so",
            "libgcc_s.so",
            "ld-linux",
            "libdl.so",
            "libpthread.so",
        ];
        assert!(known.iter().any(|known| file.starts_with(known)), "{line}");
    }

    let user = rest_of(last, "USER");
    assert!(!["root", "0"].contains(&user), "{user}");
    assert!(rest_of(last, "RUN").contains("useradd --system --uid 64064"));
    assert!(rest_of(last, "RUN").ends_with(user));
    let order: Vec<&str> = last.iter().map(|i| i.word.as_str()).collect();
    let place = |word: &str| order.iter().position(|w| *w == word).expect(word);
    assert!(place("USER") < place("ENTRYPOINT"));
    assert_eq!(rest_of(last, "STOPSIGNAL"), "SIGTERM");
    assert_eq!(rest_of(last, "ENTRYPOINT"), "[\"relayd\"]");
    assert_eq!(
        rest_of(last, "CMD"),
        "[\"--config\", \"/etc/relayd/relay.toml\"]"
    );
}
