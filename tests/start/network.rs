//! A network of a test's own, where every port is free and no packet leaves: the test runs itself again inside of one.

use std::process::Command;

/// Set in the inner run.
const INSIDE: &str = "RELAYD_TEST_OWN_NETWORK";

/// Runs `test` in a network namespace with a loopback interface that has the addresses `extra`, too.
///
/// `name` is the path of the calling test. Needs unshare (util-linux) and ip (iproute2); root, or user namespaces.
pub fn alone(name: &str, extra: &[&str], test: impl FnOnce()) {
    enter(name, extra, &["--user", "--map-root-user"], test);
}

/// The same with all users that files of a root directory may belong to; without root, /etc/subuid must give some to this
/// user (packages uidmap).
pub fn with_users(name: &str, test: impl FnOnce()) {
    enter(
        name,
        &[],
        &["--user", "--map-root-user", "--map-auto"],
        test,
    );
}

fn enter(name: &str, extra: &[&str], without_root: &[&str], test: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return test();
    }
    let mut script = "PATH=$PATH:/usr/sbin:/sbin; ip link set lo up".to_owned();
    for address in extra {
        script.push_str(&format!(" && ip address add {address} dev lo"));
    }
    script.push_str(" && exec \"$0\" --exact \"$1\" --nocapture --test-threads=1");
    let mut command = Command::new("unshare");
    if !is_root() {
        command.args(without_root);
    }
    let binary = std::env::current_exe().expect("a test binary");
    command.args(["--net", "sh", "-c", &script]);
    command.arg(binary).arg(name).env(INSIDE, "1");
    let output = command.output().expect("unshare (package util-linux) runs");
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{text}");
    assert!(text.contains("1 passed"), "{name} is no test: {text}");
}

pub fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}
