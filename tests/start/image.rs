//! The image without an engine: the last stage of the Dockerfile, instruction by instruction, in a root directory of
//! Debian's, then a container's process and its health check.
//!
//! The root directory is of this machine's Debian, whose C library the tests' binary was built for, not of the one in FROM.

use super::network;
use super::packaging::{Instruction, stages};
use super::process::{Ended, Serving, run};
use super::root::{PATH, Root};
use super::site::Site;
use super::support::client::{Client, Kind, Wire};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;

/// What Docker leaves of root's capabilities to a container, for files that carry some.
const BOUNDING_SET: &str = "-all,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap,\
                            +net_bind_service,+net_raw,+sys_chroot,+mknod,+audit_write,+setfcap";

/// What the instructions have made.
struct Image {
    root: Root,
    user: String,
    directory: String,
    entrypoint: Vec<String>,
    command: Vec<String>,
    health: Vec<String>,
}

impl Image {
    fn build() -> Self {
        let stages = stages();
        let [build, last] = &stages[..] else {
            panic!("{} stages", stages.len());
        };
        let mut image = Self {
            root: Root::new(),
            user: "root".to_owned(),
            directory: "/".to_owned(),
            entrypoint: Vec::new(),
            command: Vec::new(),
            health: Vec::new(),
        };
        for instruction in last {
            image.follow(instruction, build);
        }
        image
    }

    fn follow(&mut self, Instruction { word, rest }: &Instruction, build: &[Instruction]) {
        match word.as_str() {
            "FROM" => assert!(rest.starts_with("debian:"), "the root directory is one"),
            "RUN" => {
                let ended = run(&mut self.process(&["/bin/sh", "-c", rest]));
                assert_eq!(ended.code, Some(0), "{rest}: {ended:#?}");
            }
            "COPY" => self.copy_binary(rest, build),
            "USER" => self.user.clone_from(rest),
            "WORKDIR" => {
                fs::create_dir_all(self.root.path(rest)).expect("a directory");
                self.directory.clone_from(rest);
            }
            "ENTRYPOINT" => self.entrypoint = words(rest),
            "CMD" => self.command = words(rest),
            "HEALTHCHECK" => {
                let (options, command) = rest.split_once("CMD ").expect("a command");
                assert!(options.contains("--timeout="), "{options}");
                self.health = words(command);
            }
            // What the engine does with a container that runs.
            "EXPOSE" | "STOPSIGNAL" => {}
            _ => panic!("{word} is an instruction that this test does not know"),
        }
    }

    /// The build stage's result, with the capability that it gives to it.
    fn copy_binary(&self, rest: &str, build: &[Instruction]) {
        let [from, source, target] = rest.split(' ').collect::<Vec<_>>()[..] else {
            panic!("COPY {rest}");
        };
        assert_eq!(
            (from, source),
            ("--from=build", "/src/target/release/relayd")
        );
        let target = self.root.path(target);
        fs::copy(env!("CARGO_BIN_EXE_relayd"), &target).expect("a copy");
        let scripts = build.iter().filter(|instruction| instruction.word == "RUN");
        let capability = scripts
            .filter_map(|script| script.rest.split("setcap ").nth(1)?.split(' ').next())
            .next();
        let mut setcap = Command::new("setcap");
        setcap.env("PATH", PATH);
        let ended = run(setcap
            .arg(capability.expect("the build sets one"))
            .arg(&target));
        assert_eq!(ended.code, Some(0), "{ended:#?}");
    }

    /// A process of a container: the image's user and directory, Docker's capabilities, none of them raised.
    fn process(&self, line: &[&str]) -> Command {
        let user = format!("--reuid={}", self.user);
        let group = format!("--regid={}", self.user);
        let bounding = format!("--bounding-set={BOUNDING_SET}");
        let mut words = vec![
            "setpriv",
            &user,
            &group,
            "--init-groups",
            &bounding,
            "--inh-caps=-all",
        ];
        words.extend(["sh", "-c", "cd \"$0\" && exec \"$@\"", &self.directory]);
        words.extend(line);
        self.root.command(&words)
    }

    fn start(&self) -> Serving {
        let line = self.entrypoint.iter().chain(&self.command);
        let line: Vec<&str> = line.map(String::as_str).collect();
        Serving::start(&mut self.process(&line), "\"serving\"")
    }

    fn health(&self) -> Ended {
        let line: Vec<&str> = self.health.iter().map(String::as_str).collect();
        run(&mut self.process(&line))
    }
}

/// The exec form.
fn words(list: &str) -> Vec<String> {
    serde_json::from_str(list).unwrap_or_else(|error| panic!("{list}: {error}"))
}

#[test]
fn a_container_serves_port_443_without_root_and_its_health_check_tells_how_it_is() {
    const NAME: &str =
        "image::a_container_serves_port_443_without_root_and_its_health_check_tells_how_it_is";
    network::with_users(NAME, || {
        let image = Image::build();
        assert_eq!(image.entrypoint, ["relayd"]);
        let uid = image.root.run(&["id", "--user", &image.user]);
        let uid: u32 = uid.trim().parse().expect("a number");
        assert_ne!(uid, 0);

        // Without a configuration it does not start, and is not healthy.
        assert_eq!(image.health().code, Some(64));
        // Where `docker run -v` puts the operator's directory.
        let site = Site::with(&[
            ("tls = [\"127.0.0.1:0\"]", "tls = [\"127.0.0.1:443\"]"),
            ("listen = \"127.0.0.1:0\"", "listen = \"127.0.0.1:9641\""),
        ]);
        for name in ["relay.toml", "fullchain.pem", "privkey.pem"] {
            let path = image.root.path(&format!("{}/{name}", image.directory));
            fs::copy(site.path(name), &path).expect("a copy");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).expect("a mode");
            chown(&path, Some(uid), Some(uid)).expect("an owner");
        }
        let before = image.health();
        assert_eq!(before.code, Some(1), "{before:#?}");

        let mut serving = image.start();
        let status = fs::read_to_string(format!("/proc/{}/status", serving.pid()));
        let status = status.expect("it lives");
        assert!(
            status.contains(&format!("Uid:\t{uid}\t{uid}\t{uid}\t{uid}\n")),
            "{status}"
        );
        // CAP_NET_BIND_SERVICE is bit 10 (capabilities(7)).
        assert!(status.contains("CapEff:\t0000000000000400\n"), "{status}");
        let healthy = image.health();
        assert_eq!(healthy.code, Some(0), "{healthy:#?}");
        let wire = Wire::open(Kind::Tls, "127.0.0.1:443".parse().expect("an address"));
        let mut client = Client::new(wire.expect("it listens"), "alice", "s3cret-of-alice");
        client.allocate().expect("it relays");
        drop(client);
        assert_eq!(serving.stop(), Some(0));
        let after = image.health();
        assert_eq!(after.code, Some(1), "{after:#?}");
    });
}
