"""The README's performance table and the plots, from what was measured."""

import os
import statistics

import judge
import plot
from rows import ROWS, SCALE_ROWS, SWEEP_PPS, Absolute, Ratio

README = "README.md"
PLOTS = "benches/plots"
BEGIN, END = "<!-- measured: benches/compare.sh --write-readme -->", "<!-- end of what was measured -->"


def write(kept):
    plots = write_plots(kept)
    with open(README) as readme:
        text = readme.read()
    with open(README, "w") as readme:
        readme.write(replaced(text, section(kept, plots)))


def replaced(text, body):
    """The README with `body` between its marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise RuntimeError(f"{README} lacks the line {BEGIN} or {END}")
    return f"{before}{BEGIN}\n{body}\n{END}{after}"


def section(kept, plots):
    machine = kept["machine"]
    rivals = ", ".join(f"{name} {version}" for name, version in machine["rivals"].items())
    out = [
        f"{machine['date']}, commit {machine['commit']}, {machine['cores']} cores of {machine['processor']}, Linux {machine['kernel']}; {rivals}.",
        f"Medians of {kept['rounds']} rounds; ratios are taken within a round, with the lowest and the highest.",
        "",
        "| load | figure | relayd | rival | relayd to it | budget | |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in ROWS:
        played = kept["rows"].get(row.name)
        if played and not row.plot:
            out += table_lines(row, judge.lines(row, played["rounds"]))
    out.append("")
    out += [f"![{title}]({path})" for title, path in plots]
    return "\n".join(out).rstrip()


def table_lines(row, found):
    """A line for each budget; a row without one shows its first figure."""
    budgeted = [figure.title for figure in row.figures if figure.budget] or [row.figures[0].title]
    out = []
    for figure in (figure for figure in row.figures if figure.title in budgeted):
        lines = [line for line in found if line.figure == figure.title]
        judged = next((line for line in lines if line.verdict), None)
        rivals = [line for line in lines if line.rival]
        shown = rivals or lines
        if not shown:
            continue
        budget = str(figure.budget) if isinstance(figure.budget, (Ratio, Absolute)) else ""
        cells = [
            row.title,
            figure.title,
            judge.number(statistics.median(shown[0].ours)) + shown[0].mark.replace("*", "\\*").replace("~", "\\~"),
            "<br>".join(f"{line.rival}: {judge.number(statistics.median(line.theirs))}" for line in rivals),
            "<br>".join(judge.spread(line.ratios) for line in rivals),
            budget,
            judged.verdict if judged else "",
        ]
        out.append("| " + " | ".join(cells) + " |")
    return out


def write_plots(kept):
    """The plots that there are figures for: [(title, path)]."""
    takers = [(pps, f"sweep{pps}") for pps in SWEEP_PPS] + [("saturated", "channel")]
    wanted = [
        ("load.svg", "CPU of a relayed packet, by load", "packets a second, 100 allocations", takers),
        ("allocations.svg", "CPU of a relayed packet, by allocations", "busy allocations, saturated", SCALE_ROWS),
    ]
    written = []
    for name, title, x_title, rows in wanted:
        lines = {server: points(kept, rows, server) for server in ("relayd", "coturn")}
        if min(len(line) for line in lines.values()) < 2:
            continue
        os.makedirs(PLOTS, exist_ok=True)
        path = f"{PLOTS}/{name}"
        with open(path, "w") as out:
            out.write(plot.svg(title, x_title, "us of CPU a packet", lines))
        written.append((title, path))
    return written


def points(kept, rows, server):
    found = []
    for x, name in rows:
        outputs = kept["rows"].get(name, {}).get("rounds", {}).get(server, [])
        values = [out["server_cpu_ns_per_packet"] / 1e3 for out in outputs]
        if values:
            found.append((x, statistics.median(values), min(values), max(values)))
    return found
