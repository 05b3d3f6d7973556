"""The rounds of one row.

A round measures every server of the row once, one after the other, the first one changing from round to round; what
is compared is the pair within a round, since a machine's speed drifts. A round in which something else took more than
OTHER_MAX of a core is thrown away, counted, and played again (twice the rounds at most).
"""

import sys

import judge
from account import OTHER_MAX, Stalled, run_load

# Tries that a rival gets for answers that never come. haproxy 2.6 now and then keeps the end of a large body to itself.
STALLS_MAX = 5


class Play:
    """All rounds of one row."""

    def __init__(self, row, bench, args):
        self.row, self.bench, self.args = row, bench, args
        self.origin = None
        self.running = {}
        self.gone = {}
        self.stalled = {}
        self.faults = []
        self.results = {name: [] for name in row.servers}

    def run(self):
        wanted, played, discarded = self.args.rounds * self.row.times, 0, 0
        try:
            self.origin = self.bench.origin() if self.row.is_proxy() else None
            while "relayd" not in self.gone and len(self.results["relayd"]) < wanted and played < 2 * wanted:
                other = self.round(played)
                played += 1
                noisy = other > OTHER_MAX
                discarded += noisy and not self.args.noisy
                said = f", thrown away: others took {other:.2f} of a core" if noisy else ""
                print(f"{self.row.name}: round {played}{said}", file=sys.stderr)
        finally:
            for one in [*self.running.values(), *([self.origin] if self.origin else [])]:
                one.stop()
        return {"discarded": discarded, "rounds": self.results, "faults": self.faults, "gone": self.gone, "stalled": self.stalled}

    def round(self, number):
        """One run of each server; returns how much of a core others took, at most."""
        names = [name for name in self.row.servers if name not in self.gone]
        first = number % len(names)
        outputs, most = {}, 0.0
        for name in names[first:] + names[:first]:
            try:
                outputs[name], other = self.one_that_ends(name)
            except RuntimeError as fault:
                self.gone[name] = str(fault)
                self.stop(name)
                print(f"{self.row.name}: {name}: {fault}", file=sys.stderr)
                continue
            most = max(most, other)
        counts = most <= OTHER_MAX or self.args.noisy
        for name, output in outputs.items():
            # Somebody else on the machine may cost packets, but alters none.
            self.faults += [[name, fault] for fault in judge.faults(output) if counts or " lost " not in fault]
            if counts:
                self.results[name].append(output)
        return most

    def one_that_ends(self, name):
        """A rival that stalls gets a new process and another try; relayd does not."""
        while True:
            try:
                return self.one(name)
            except Stalled as fault:
                if name == "relayd" or self.stalled.get(name, 0) == STALLS_MAX:
                    raise
                self.stalled[name] = self.stalled.get(name, 0) + 1
                print(f"{self.row.name}: {name}: {fault}; once more", file=sys.stderr)
                self.stop(name)

    def stop(self, name):
        if name in self.running:
            self.running.pop(name).stop()

    def one(self, name):
        if name not in self.running:
            self.running[name] = getattr(self.bench, name)(self.origin.port if self.origin else None)
        subject = self.running[name]
        ours = list(self.running.values()) + ([self.origin] if self.origin else [])
        try:
            return run_load(self.row.load(subject, self.origin, self.args), ours, self.args.seconds)
        finally:
            if self.row.fresh:
                self.running.pop(name).stop()
