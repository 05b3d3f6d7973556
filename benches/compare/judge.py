"""What the figures say: one line for each figure and rival, ratios within a round, budgets met or missed."""

import statistics
from dataclasses import dataclass

from rows import Absolute, Ratio

MET, MISSED = "met", "MISSED"
# Marks at a speed that was not taken with the server's core saturated.
LIMITS = {"load": "*", "window": "~"}


@dataclass
class Line:
    """One line of the table; what a rival does not have is empty."""

    row: str
    figure: str
    ours: list
    rival: str = ""
    theirs: tuple = ()
    ratios: tuple = ()
    budget: str = ""
    verdict: str = ""
    mark: str = ""

    def cells(self):
        return (self.row, self.figure, spread(self.ours) + self.mark, self.rival, spread(self.theirs), spread(self.ratios), self.budget, self.verdict)


HEAD = ("row", "figure", "relayd", "rival", "rival's", "relayd to it", "budget", "verdict")


def lines(row, rounds):
    """The lines of one row; `rounds` is {server: [output of each round that counts]}."""
    found = []
    for figure in row.figures:
        ours = [figure.take(out) for out in rounds["relayd"]]
        if not ours:
            continue
        absolute = isinstance(figure.budget, Absolute)
        if absolute:
            found.append(Line(row.name, figure.title, ours, budget=str(figure.budget), verdict=verdict(figure.budget, ours), mark=mark(rounds["relayd"])))
        for name in row.servers[1:]:
            theirs = [figure.take(out) for out in rounds.get(name, [])]
            if not theirs:
                continue
            ratios = [mine / other for mine, other in zip(ours, theirs) if other and not figure.plain]
            line = Line(row.name, figure.title, ours, name.replace("_", " "), theirs, ratios, mark=mark(rounds["relayd"] + rounds[name]))
            if ratios and isinstance(figure.budget, Ratio) and figure.budget.rival == name:
                line.budget, line.verdict = str(figure.budget), verdict(figure.budget, ratios)
            elif absolute and figure.budget.reference and figure.budget.reference[0] == name:
                # The budget was set on another machine: the same share of the rival, here.
                share = figure.budget.at_most / figure.budget.reference[1]
                line.budget = f"({share:.2f} where it was set)"
            found.append(line)
    return found


def verdict(budget, values):
    return MET if budget.is_met(statistics.median(values)) else MISSED


def mark(outputs):
    limits = {out.get("limit") for out in outputs}
    return "".join(sign for limit, sign in LIMITS.items() if limit in limits)


def spread(values):
    if not values:
        return ""
    if len(values) == 1:
        return number(values[0])
    return f"{number(statistics.median(values))} ({number(min(values))}-{number(max(values))})"


def number(value):
    if value and abs(value) < 1000:
        return f"{value:.3g}"
    return f"{value:.0f}"


def missed(row, found, rounds_wanted):
    """The budgets of a row that are not shown to be met."""
    out = [f"{line.row}: {line.figure}: {spread(line.ratios or line.ours)}, budget {line.budget}" for line in found if line.verdict == MISSED]
    judged = sum(1 for line in found if line.verdict)
    wanted = sum(1 for figure in row.figures if figure.budget)
    if judged < wanted:
        out.append(f"{row.name}: not measured: {wanted - judged} of {wanted} budgets")
    elif wanted and len(found[0].ours) < rounds_wanted:
        out.append(f"{row.name}: {len(found[0].ours)} quiet rounds of {rounds_wanted}")
    return out


def faults(output):
    """What a server did wrong in a run, as far as it may not be."""
    wrong = list(output.get("failures", []))
    if output.get("errors"):
        wrong.append(f"{output['errors']} errors: {output.get('first_error', '?')}")
    for phase in ("setup", "allocate", "channel", "refresh", "delete", "lives", "teardown"):
        part = output.get(phase, {})
        for key in ("failed", "bad_integrity", "bad_fingerprint"):
            if part.get(key):
                wrong.append(f"{phase}: {part[key]} {key.replace('_', ' ')} {part.get('errors', '')}".rstrip())
    return wrong


def table(found):
    rows = [HEAD] + [line.cells() for line in found]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    out, last = [], None
    for cells in rows:
        if last and cells[0] != last:
            out.append("")
        out.append("  ".join(cell.ljust(width) for cell, width in zip(cells, widths)).rstrip())
        last = cells[0]
    return "\n".join(out)
