"""Runs relayd and its rivals in alternation and prints one table. Started by compare.sh.

Servers are pinned to core 0, the load to core 1. CPU time is the kernel's account of the server's threads.
"""

import argparse
import json
import os
import resource
import signal
import sys
import tempfile

import judge
import machine
import readme
from play import Play
from rows import ROWS
from servers import Bench

EXIT_MISSED = 1


def main():
    args = arguments()
    # Ended from outside, it still ends the servers that it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if args.list:
        for row in ROWS:
            print(f"{row.name:12} {row.title}: {', '.join(row.servers)}{' (with --plots)' if row.plot else ''}")
        return 0
    if args.load_json:
        with open(args.load_json) as saved:
            kept = json.load(saved)
    else:
        kept = measure(args)
    if args.json:
        with open(args.json, "w") as out:
            json.dump(kept, out, indent=1)
    status = report(kept, args)
    if args.write_readme:
        readme.write(kept)
    elif args.plots:
        readme.write_plots(kept)
    return status


def arguments():
    parser = argparse.ArgumentParser(description="relayd beside its rivals", prog="benches/compare.sh")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="measured time of each run")
    parser.add_argument("--only", default="", help="rows, separated by commas")
    parser.add_argument("--list", action="store_true", help="name the rows and stop")
    parser.add_argument("--noisy", action="store_true", help="keep noisy rounds too: to see that it runs")
    parser.add_argument("--report-only", action="store_true", help="a missed budget does not change the exit status")
    parser.add_argument("--plots", action="store_true", help="measure the plots' rows too and write them to benches/plots")
    parser.add_argument("--write-readme", action="store_true", help="--plots, and write the README's table")
    parser.add_argument("--json", metavar="FILE", help="also write every output there")
    parser.add_argument("--load-json", metavar="FILE", help="measure nothing: report on what --json wrote")
    args = parser.parse_args()
    args.plots |= args.write_readme
    only = [name for name in args.only.split(",") if name]
    unknown = set(only) - {row.name for row in ROWS}
    if unknown:
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    args.rows = [row for row in ROWS if row.name in only or not only and (not row.plot or args.plots)]
    if (os.cpu_count() or 1) < 2:
        parser.error("a second core is needed for the load")
    return args


def measure(args):
    """Everything that was measured: {"machine": ..., "rows": {row: {"discarded", "rounds", "faults"}}}."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    kept = {"machine": machine.describe(), "rounds": args.rounds, "seconds": args.seconds, "rows": {}}
    with tempfile.TemporaryDirectory(prefix="compare-") as directory:
        bench = Bench(directory)
        for row in args.rows:
            kept["rows"][row.name] = Play(row, bench, args).run()
    return kept


def report(kept, args):
    """Prints the table and what is missed; returns the exit status."""
    found, missed, faults, absent = [], [], [], []
    for row in ROWS:
        played = kept["rows"].get(row.name)
        if not played:
            continue
        lines = judge.lines(row, played["rounds"])
        found += lines
        missed += judge.missed(row, lines, kept["rounds"] * row.times)
        faults += [f"{row.name}: {name}: {fault}" for name, fault in played["faults"]]
        absent += [f"{row.name}: {name}: {shortened(fault)}" for name, fault in played["gone"].items()]
    print(machine.heading(kept["machine"]))
    print(f"median (lowest-highest) of {kept['rounds']} rounds of {kept['seconds']:g} s; a ratio is taken within each round")
    print("speed is packets for each CPU-second of the server: what a saturated core does. * the load's core was the limit, ~ the waiting between both was\n")
    print(judge.table(found))
    thrown = {name: row["discarded"] for name, row in kept["rows"].items() if row["discarded"]}
    print(f"\nnoisy rounds thrown away: {sum(thrown.values())} {thrown or ''}".rstrip())
    stalled = {f"{name}: {rival}": times for name, row in kept["rows"].items() for rival, times in row.get("stalled", {}).items()}
    if stalled:
        print(f"runs in which a rival stalled, played again: {stalled}")
    for title, entries in (("could not be measured", absent), ("packets or answers not as they must be", faults), ("budgets missed", missed)):
        if entries:
            print(f"\n{title}:")
            for entry, times in counted(entries):
                print(f"  {entry}{f' ({times} times)' if times > 1 else ''}")
    if not missed:
        print("\nno budget missed")
    faulty = any(": relayd: " in fault for fault in faults + absent)
    return EXIT_MISSED if faulty or missed and not args.report_only else 0


def shortened(fault):
    """Its first line, and the last, where a program says why."""
    lines = fault.strip().splitlines()
    return lines[0] if len(lines) == 1 else f"{lines[0]} {lines[-1]}"


def counted(entries):
    return [(entry, entries.count(entry)) for entry in dict.fromkeys(entries)]


if __name__ == "__main__":
    sys.exit(main())
