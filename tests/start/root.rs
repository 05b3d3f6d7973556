//! A root directory of Debian's, for what must not happen in the machine's own: packages that are installed, the image.
//!
//! `tests/run.sh --install` makes the archive that it comes from. Run inside of `network::with_users`.

use super::process::run;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// What services and images find their commands in.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub struct Root(PathBuf);

impl Root {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("relayd-root-{}-{number}", std::process::id());
        let root = Self(std::env::temp_dir().join(name));
        fs::create_dir(&root.0).expect("a directory of its own");
        let mut tar = Command::new("tar");
        // Devices are the machine's own; only root could make them.
        tar.args([
            "--extract",
            "--numeric-owner",
            "--exclude=./dev/*",
            "--file",
        ]);
        tar.arg(cached("root.tar")).arg("--directory").arg(&root.0);
        let ended = run(&mut tar);
        assert_eq!(ended.code, Some(0), "{ended:#?}");
        root
    }

    /// Where an absolute path of the root directory is.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.0.join(inside.trim_start_matches('/'))
    }

    /// A command inside, as root, with nothing of this process's environment. The process is the command itself.
    pub fn command(&self, line: &[&str]) -> Command {
        const ENTER: &str = "mount --rbind /dev \"$0/dev\" && mount --rbind /proc \"$0/proc\" && exec chroot \"$0\" \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", ENTER]);
        command.arg(&self.0).args(line);
        command.env_clear().env("PATH", PATH);
        command
    }

    /// Runs a command that must succeed; returns what it said.
    pub fn run(&self, line: &[&str]) -> String {
        let ended = run(&mut self.command(line));
        assert_eq!(ended.code, Some(0), "{line:?}: {ended:#?}");
        format!("{}{}", ended.stdout, ended.stderr)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        // The mounts inside ended with their processes.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What `tests/run.sh --install` has put there.
pub fn cached(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/.cache")
        .join(name);
    assert!(
        path.exists(),
        "no {}: run tests/run.sh --install",
        path.display()
    );
    path
}
