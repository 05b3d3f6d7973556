#!/usr/bin/env python3
"""Checks Cargo.lock against deny.toml: licences, sources, banned crates, security advisories.

The part of cargo-deny that this project needs, by the standard library alone: building cargo-deny takes longer than all our tests
together. Advisories come from RustSec's database, a git repository; without a way to it this says so loudly and checks the rest.

usage: supply_chain.py [--advisories DIRECTORY]
"""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATABASE = "https://github.com/RustSec/advisory-db"
FETCH_TIMEOUT_S = 90


def main() -> int:
    policy = tomllib.loads((ROOT / "deny.toml").read_text())
    packages = cargo_packages()
    problems = [
        *licence_problems(packages, policy["licenses"]),
        *source_problems(packages, policy["sources"]),
        *ban_problems(packages, policy["bans"]),
    ]
    database, why_not = advisory_database(sys.argv[1:])
    if database is None:
        print(f"supply chain: ADVISORIES WERE NOT CHECKED: {why_not}", file=sys.stderr)
    else:
        found, notes, count = advisory_findings(packages, database, policy["advisories"])
        problems += found
        for note in notes:
            print(f"supply chain: note: {note}")
        print(f"supply chain: compared with {count} advisories for the crates in use")
    for problem in problems:
        print(f"supply chain: error: {problem}", file=sys.stderr)
    print(f"supply chain: {len(packages)} crates, {len(problems)} problems")
    return 1 if problems else 0


def cargo_packages() -> list[dict]:
    """Every foreign package of the graph that is built on Linux, dev-dependencies included."""
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", "x86_64-unknown-linux-gnu"]
    metadata = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
    own = set(metadata["workspace_members"])
    return [package for package in metadata["packages"] if package["id"] not in own]


def name(package: dict) -> str:
    return f"{package['name']} {package['version']}"


# ---- licences ----

def licence_problems(packages: list[dict], policy: dict) -> list[str]:
    allowed = set(policy["allow"])
    problems = []
    for package in packages:
        expression = package["license"]
        if not expression:
            problems.append(f"{name(package)} declares no licence")
        elif not satisfied(expression, allowed):
            problems.append(f"{name(package)} is under {expression}, which deny.toml does not allow")
    return problems


def satisfied(expression: str, allowed: set[str]) -> bool:
    """Whether an SPDX expression can be met by allowed licences; the old `MIT/Apache-2.0` means OR."""
    tokens = re.findall(r"[()]|[^\s()]+", expression.replace("/", " OR "))

    def alternatives() -> bool:
        met = conjunction()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            met = conjunction() or met
        return met

    def conjunction() -> bool:
        met = licence()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            met = licence() and met
        return met

    def licence() -> bool:
        token = tokens.pop(0)
        if token == "(":
            met = alternatives()
            tokens.pop(0)
            return met
        if tokens and tokens[0] == "WITH":
            tokens.pop(0)
            token = f"{token} WITH {tokens.pop(0)}"
        return token in allowed

    return alternatives()


# ---- sources and bans ----

def source_problems(packages: list[dict], policy: dict) -> list[str]:
    allowed = {f"registry+{registry}" for registry in policy["allow-registry"]}
    return [f"{name(package)} comes from {package['source']}" for package in packages if package["source"] not in allowed]


def ban_problems(packages: list[dict], policy: dict) -> list[str]:
    banned = {entry["crate"]: entry["reason"] for entry in policy["deny"]}
    return [f"{name(package)} is banned: {banned[package['name']]}" for package in packages if package["name"] in banned]


# ---- advisories ----

def advisory_database(arguments: list[str]) -> tuple[Path | None, str]:
    """A checked-out database: the one named, or a clone kept in tests/.cache and brought up to date."""
    if arguments[:1] == ["--advisories"] and len(arguments) == 2:
        return Path(arguments[1]), ""
    if arguments:
        sys.exit(__doc__)
    clone = ROOT / "tests/.cache/advisory-db"
    if (clone / ".git").exists():
        command = ["git", "-C", str(clone), "pull", "--quiet", "--ff-only"]
    else:
        clone.parent.mkdir(parents=True, exist_ok=True)
        command = ["git", "clone", "--quiet", "--depth", "1", DATABASE, str(clone)]
    try:
        fetched = subprocess.run(command, timeout=FETCH_TIMEOUT_S, stderr=subprocess.PIPE, text=True)
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, f"{DATABASE} cannot be fetched: {error}"
    if fetched.returncode != 0:
        return None, f"{DATABASE} cannot be fetched: {fetched.stderr.strip()}"
    return clone, ""


def advisory_findings(packages: list[dict], database: Path, policy: dict) -> tuple[list[str], list[str], int]:
    """Problems (vulnerable, unsound), notes (unmaintained and the like), and how many advisories were compared."""
    ignored = {entry["id"] for entry in policy["ignore"]}
    problems, notes, count = [], [], 0
    if not (database / "crates").is_dir():
        return [f"{database} is no advisory database"], [], 0
    for package in packages:
        for file in sorted((database / "crates" / package["name"]).glob("RUSTSEC-*.md")):
            count += 1
            text = file.read_text()
            front = re.search(r"```toml\n(.*?)\n```", text, re.DOTALL)
            if not front:
                problems.append(f"{file.name} has no front matter")
                continue
            facts = tomllib.loads(front[1])
            advisory, versions = facts["advisory"], facts.get("versions", {})
            if advisory.get("withdrawn") or advisory["id"] in ignored or not affected(package["version"], versions):
                continue
            title = re.search(r"^# (.*)$", text, re.MULTILINE)
            finding = f"{name(package)}: {advisory['id']} {title[1] if title else ''}"
            kind = advisory.get("informational")
            (problems if kind in (None, "unsound") else notes).append(f"{finding} ({kind or 'vulnerability'})")
    return problems, notes, count


def affected(version: str, versions: dict) -> bool:
    fine = [*versions.get("patched", []), *versions.get("unaffected", [])]
    return not any(matches(version, requirement) for requirement in fine)


def matches(version: str, requirement: str) -> bool:
    """Cargo's comparators, all of which must hold: >=, >, <, <=, =, ^ (also bare) and ~."""
    return all(holds(parse(version), comparator.strip()) for comparator in requirement.split(","))


def parse(version: str) -> tuple:
    """Sorts as SemVer does where numbers differ; a pre-release comes before its release."""
    core, _, rest = version.partition("-")
    numbers = [int(part) for part in core.partition("+")[0].split(".")]
    return (*numbers, *[0] * (3 - len(numbers)), not rest, rest)


def holds(version: tuple, comparator: str) -> bool:
    operator, text = re.fullmatch(r"(>=|<=|>|<|=|\^|~)?\s*(\S+)", comparator).groups()
    wanted = parse(text)
    given = len(text.partition("-")[0].split("."))
    match operator:
        case ">=":
            return version >= wanted
        case ">":
            return version > wanted
        case "<=":
            return version <= wanted
        case "<":
            return version < wanted
        case "=":
            return version[:given] == wanted[:given] and (given < 3 or version == wanted)
        case "~":
            fixed = min(given, 2)
        case _:
            # Everything up to the first number that is not zero stays.
            fixed = next((at + 1 for at in range(given) if wanted[at]), given)
    return version >= wanted and version[:fixed] == wanted[:fixed]


if __name__ == "__main__":
    sys.exit(main())
