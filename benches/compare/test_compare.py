"""What the comparison promises, without a server: python3 -m unittest discover -s benches/compare."""

import contextlib
import io
import os
import subprocess
import sys
import types
import unittest
import xml.dom.minidom

os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
sys.path.insert(0, "benches/compare")

import account
import judge
import play
import plot
import readme
from rows import ROWS, Absolute, Figure, Ratio, Row, dig
from servers import Bench

SPEED = Row("fast", "speed", ("relayd", "coturn"), None, [Figure("pps", dig("pps"), Ratio("coturn", at_least=1.35))])
SMALL = Row("small", "size", ("relayd", "coturn"), None, [Figure("bytes", dig("bytes"), Absolute(100, ("coturn", 400)))])


def rounds(key, ours, theirs):
    return {"relayd": [{key: value} for value in ours], "coturn": [{key: value} for value in theirs]}


class Playing(unittest.TestCase):
    def played(self, name, stalls):
        """Two rounds in which `name` stalls so often first."""
        row = Row("speed", "speed", ("relayd", "coturn"), None, [])
        made, stopped = [], []

        class Fake:
            port = 1

            def stop(self):
                stopped.append(self)

        class Rivals:
            def __getattr__(self, kind):
                return lambda _: made.append(kind) or Fake()

        class Played(play.Play):
            def one(self, kind):
                nonlocal stalls
                if kind not in self.running:
                    self.running[kind] = getattr(self.bench, kind)(None)
                if kind == name and stalls > 0:
                    stalls -= 1
                    raise account.Stalled("the load did not end")
                return {}, 0.0

        args = types.SimpleNamespace(rounds=2, noisy=False)
        with contextlib.redirect_stderr(io.StringIO()):
            kept = Played(row, Rivals(), args).run()
        self.assertEqual(len(set(stopped)), len(made), "every process is stopped")
        return kept, made

    def test_a_rival_that_stalls_gets_a_new_process_and_the_run_again(self):
        kept, made = self.played("coturn", 2)
        self.assertEqual((kept["stalled"], kept["gone"]), ({"coturn": 2}, {}))
        self.assertEqual(len(kept["rounds"]["coturn"]), 2)
        self.assertEqual(made.count("coturn"), 3)

    def test_a_rival_that_always_stalls_is_given_up_and_the_others_are_not(self):
        kept, _ = self.played("coturn", 1000)
        self.assertEqual(list(kept["gone"]), ["coturn"])
        self.assertEqual(len(kept["rounds"]["relayd"]), 2)

    def test_relayd_may_not_stall(self):
        kept, _ = self.played("relayd", 1)
        self.assertEqual(list(kept["gone"]), ["relayd"])


class Judging(unittest.TestCase):
    def test_a_ratio_is_taken_within_each_round(self):
        line = judge.lines(SPEED, rounds("pps", [140, 280, 300], [100, 200, 100]))[0]
        self.assertEqual((line.ratios, line.verdict), ([1.4, 1.4, 3.0], judge.MET))

    def test_the_median_misses_a_budget(self):
        played = rounds("pps", [200, 130, 130], [100, 100, 100])
        lines = judge.lines(SPEED, played)
        self.assertEqual(judge.missed(SPEED, lines, 3), ["fast: pps: 1.3 (1.3-2), budget >= 1.35"])

    def test_an_absolute_budget_is_held_against_relayd_alone(self):
        lines = judge.lines(SMALL, rounds("bytes", [90, 99, 101], [1, 1, 1]))
        self.assertEqual([line.verdict for line in lines], [judge.MET, ""])
        self.assertIn("0.25", lines[1].budget)

    def test_what_was_not_measured_is_missed(self):
        self.assertIn("not measured", judge.missed(SPEED, judge.lines(SPEED, rounds("pps", [1], [])), 1)[0])
        self.assertIn("1 quiet rounds of 5", judge.missed(SPEED, judge.lines(SPEED, rounds("pps", [2], [1])), 5)[0])

    def test_a_load_at_its_limit_is_marked(self):
        played = rounds("pps", [2], [1])
        played["coturn"][0]["limit"] = "load"
        self.assertEqual(judge.lines(SPEED, played)[0].mark, "*")

    def test_faults_are_named(self):
        output = {"failures": ["3 packets misrouted"], "errors": 2, "first_error": "corrupt answer", "lives": {"failed": 1}}
        self.assertEqual(judge.faults(output), ["3 packets misrouted", "2 errors: corrupt answer", "lives: 1 failed"])
        self.assertEqual(judge.faults({"failures": [], "errors": 0, "lives": {"failed": 0}}), [])

    def test_each_budget_of_the_tables_has_a_row(self):
        budgets = [figure for row in ROWS for figure in row.figures if figure.budget and not row.plot]
        # channel, channel1000, send, pair, tcp, tls, steady60k, 3 quiet20k, quality, quality1000, 2 churn, memory, deleted, and 5 of the proxy
        self.assertEqual(len(budgets), 21)

    def test_what_call_quality_costs_is_held_against_relayd_without_it(self):
        for name in ("quality", "quality1000"):
            row = next(row for row in ROWS if row.name == name)
            cost = {"relayd": [out(102), out(103), out(104)], "relayd_without_quality": [out(100), out(100), out(100)]}
            lines = judge.lines(row, cost)
            self.assertEqual((lines[0].rival, lines[0].budget, lines[0].verdict), ("relayd without quality", "<= 1.03", judge.MET))
            self.assertEqual(judge.missed(row, lines, 3), [])
            cost["relayd"] = [out(102), out(104), out(104)]
            self.assertIn("budget <= 1.03", judge.missed(row, judge.lines(row, cost), 3)[0])
            self.assertTrue(row.fresh)
            self.assertGreater(row.times, 1)


class Starting(unittest.TestCase):
    def test_every_row_has_its_servers(self):
        for row in ROWS:
            for name in row.servers:
                self.assertTrue(hasattr(Bench, name), name)

    def test_call_quality_is_all_that_differs(self):
        """The same load, which looks like RTP, on relayd as it is and on relayd with the one key changed."""
        files = []
        bench = Bench.__new__(Bench)
        bench.directory = "/nowhere"
        bench.started = lambda _name, text: files.append(text.splitlines())
        bench.relayd()
        bench.relayd_without_quality()
        changed = [(with_it, without) for with_it, without in zip(*files, strict=True) if with_it != without]
        self.assertEqual(changed, [("", "call_quality = false")])
        row = next(row for row in ROWS if row.name == "quality")
        command = row.load(type("Server", (), {"udp": "a", "pid": 1}), None, type("Args", (), {"seconds": 1})())
        self.assertEqual(command[command.index("--payload") + 1], "rtp")


class Accounts(unittest.TestCase):
    def test_others_on_the_machine_are_noticed(self):
        """A process that is neither the load nor a server is what a round is thrown away for."""
        other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        try:
            _, taken = account.run_load([sys.executable, "-c", "import time; time.sleep(1); print('{}')"], [], 1)
        finally:
            other.kill()
            other.wait(10)
        self.assertGreater(taken, account.OTHER_MAX)

    def test_a_reaped_server_does_not_hide_others(self):
        """What earlier children used is not the load's."""
        subprocess.run([sys.executable, "-c", "for _ in range(20_000_000): pass"], check=True)
        self.test_others_on_the_machine_are_noticed()


class Showing(unittest.TestCase):
    def test_a_plot_is_well_formed_and_names_what_it_shows(self):
        lines = {"relayd": [(5000, 9, 8, 10), ("saturated", 2.4, 2.3, 2.5)], "co<turn": [(5000, 11, 10, 12)]}
        text = plot.svg("a & b", "x", "y", lines)
        xml.dom.minidom.parseString(text)
        self.assertIn("prefers-color-scheme: dark", text)
        self.assertIn("relayd, 5k: 9 (8-10)", text)

    def test_the_readme_has_the_marks(self):
        with open(readme.README) as file:
            text = file.read()
        changed = readme.replaced(text, "HERE")
        self.assertIn(f"{readme.BEGIN}\nHERE\n{readme.END}", changed)
        self.assertEqual(readme.replaced(changed, "HERE"), changed)

    def test_the_table_shows_budgets_and_rivals(self):
        kept = {
            "machine": {"date": "d", "commit": "c", "cores": 2, "processor": "p", "kernel": "k", "rivals": {"coturn": "4"}},
            "rounds": 1,
            "rows": {"memory": {"rounds": {"relayd": [held(1000)], "coturn": [held(20_000)]}}},
        }
        text = readme.section(kept, [("t", "p.svg")])
        self.assertIn("coturn: 20000 | 0.05 | <= 4000 | met |", text)
        self.assertIn("![t](p.svg)", text)


def out(cpu_ns):
    return {"server_cpu_ns_per_packet": cpu_ns, "relayed_pps": 1, "loss_pct": 0, "load_busy_pct": 50}


def held(size):
    return {"hold": {"rss_bytes_per_allocation": size, "slab_bytes_per_allocation": 1}}


if __name__ == "__main__":
    unittest.main()
