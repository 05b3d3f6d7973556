"""What was measured on what: commit, versions, kernel, processor, date."""

import datetime
import os
import re
import subprocess

from servers import CACHE, PATH, RELEASE


def describe():
    return {
        "relayd": said(f"{RELEASE}/relayd", "version"),
        "commit": commit(),
        "date": datetime.date.today().isoformat(),
        "kernel": os.uname().release,
        "processor": processor(),
        "cores": os.cpu_count(),
        "rivals": rivals(),
    }


def heading(machine):
    first = f"{machine['relayd']}, commit {machine['commit']}, {machine['date']}; {machine['cores']} cores, {machine['processor']}, Linux {machine['kernel']}"
    return first + "\n" + "; ".join(f"{name} {version}" for name, version in machine["rivals"].items())


def rivals():
    found = {
        "coturn": said("turnserver", "--version"),
        "nginx": said("nginx", "-v").rpartition("/")[2],
        "haproxy": number(said("haproxy", "-v")),
        "turn crate": locked("turn"),
        "turn-rs": said(f"{CACHE}/bin/turn-server", "--version").rpartition(" ")[2],
    }
    return {name: version for name, version in found.items() if version}


def number(text):
    found = re.search(r"\d+\.\d+[\w.+-]*", text)
    return found.group(0) if found else ""


def said(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, env={**os.environ, "PATH": PATH})
        return (done.stdout + done.stderr).strip().splitlines()[0]
    except (OSError, IndexError, subprocess.TimeoutExpired):
        return ""


def commit():
    """The commit, with a mark when the tree differs from it."""
    return (said("git", "rev-parse", "--short", "HEAD") or "?") + ("+" if said("git", "status", "--porcelain", "--untracked-files=no") else "")


def locked(crate):
    with open("Cargo.lock") as lock:
        found = re.search(rf'name = "{crate}"\nversion = "([^"]+)"', lock.read())
    return found.group(1) if found else ""


def processor():
    with open("/proc/cpuinfo") as info:
        found = re.search(r"model name\s*:\s*(.+)", info.read())
    return found.group(1).strip() if found else "?"
