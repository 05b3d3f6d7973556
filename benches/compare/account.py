"""CPU accounts: the kernel's books of the servers, of the load, and of everything else on the machine."""

import json
import os
import resource
import subprocess
import time

from servers import LOAD_CORE

OTHER_MAX = 0.2
# What a load may take beside the time that it measures: setting up, warming up, and the longest row's own minimum.
LOAD_TIMEOUT_S = 60
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
# turnbench's word for a server that corrupted, misrouted, duplicated, or lost below saturation: its output still counts.
EXIT_FAULTY = 3


def family(pid):
    pids = [pid]
    for one in pids:
        try:
            for task in os.listdir(f"/proc/{one}/task"):
                with open(f"/proc/{one}/task/{task}/children") as children:
                    pids += [int(child) for child in children.read().split()]
        except OSError:
            continue
    return pids


def cpu_s(pids):
    total_ns = 0
    for pid in pids:
        try:
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/schedstat") as stat:
                    total_ns += int(stat.read().split()[0])
        except OSError:
            continue
    return total_ns / 1e9


def machine_s():
    """(busy, stolen) seconds of all cores since boot."""
    with open("/proc/stat") as stat:
        ticks = [int(value) for value in stat.readline().split()[1:]]
    # user, nice, system, irq, softirq: not idle, not waiting. What a hypervisor gave to others is the eighth.
    return sum(ticks[i] for i in (0, 1, 2, 5, 6)) / TICKS_PER_S, ticks[7] / TICKS_PER_S


def children_s():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def kernel_threads():
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/comm") as comm:
                if comm.read().startswith("ksoftirqd"):
                    found.append(int(pid))
        except OSError:
            continue
    return found


KSOFTIRQD = kernel_threads()


class Stalled(RuntimeError):
    """The load waited for answers that did not come."""


def run_load(command, ours, seconds):
    """Runs a load; returns its output, and how much of a core somebody else, or the hypervisor, took meanwhile.

    No server may be reaped while it runs: the difference of the children's accounts is the load's alone.
    """
    counted = [pid for server in ours for pid in family(server.pid)] + KSOFTIRQD + [os.getpid()]
    spent, (busy, stolen), known, start = children_s(), machine_s(), cpu_s(counted), time.monotonic()
    load = subprocess.Popen(["taskset", "-c", LOAD_CORE, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        out, err = load.communicate(timeout=LOAD_TIMEOUT_S + seconds)
    except subprocess.TimeoutExpired:
        load.kill()
        load.communicate()
        raise Stalled(f"the load did not end in {LOAD_TIMEOUT_S + seconds:g} s: {' '.join(command)}") from None
    except BaseException:
        load.kill()
        load.wait()
        raise
    elapsed_s = time.monotonic() - start
    spent, known = children_s() - spent, cpu_s(counted) - known
    busy_after, stolen_after = machine_s()
    other = (busy_after - busy) - known - spent
    if load.returncode not in (0, EXIT_FAULTY):
        raise RuntimeError(f"{' '.join(command)}\n{err.decode(errors='replace')}{out.decode(errors='replace')[-2000:]}")
    return json.loads(out), max(0.0, other / elapsed_s, (stolen_after - stolen) / elapsed_s)
