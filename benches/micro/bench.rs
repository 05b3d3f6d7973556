//! Timing: batches long enough for the clock, the least of many, in CPU time.

use std::hint::black_box;

/// A batch takes at least this long.
const BATCH_NS: u64 = 2_000_000;
const BATCHES: usize = 40;

pub struct Runner {
    filter: Option<String>,
    /// Once each, to see that it runs.
    smoke: bool,
    /// Names only.
    list: bool,
    ran: usize,
}

impl Runner {
    /// The arguments are those that cargo and its test harness know; what is not an option is a filter.
    pub fn from_arguments(arguments: impl Iterator<Item = String>) -> Self {
        let arguments: Vec<_> = arguments.collect();
        let has = |name: &str| arguments.iter().any(|argument| argument == name);
        Self {
            filter: arguments.iter().find(|a| !a.starts_with('-')).cloned(),
            smoke: !has("--bench"),
            list: has("--list"),
            ran: 0,
        }
    }

    /// False where nothing under this name is wanted: what it needs is not set up.
    pub fn wants(&self, name: &str) -> bool {
        !self.list && self.filter.as_deref().is_none_or(|f| name.contains(f))
    }

    /// How many allocations a bench of many sets up: few where it only has to run.
    pub fn at_most(&self, many: usize) -> usize {
        if self.smoke { many.min(100) } else { many }
    }

    /// Measures one operation.
    pub fn bench<T>(&mut self, name: &str, mut operation: impl FnMut() -> T) {
        if self.list {
            println!("{name}: benchmark");
        }
        if !self.wants(name) {
            return;
        }
        self.ran += 1;
        black_box(operation());
        if self.smoke {
            println!("test {name} ... ok");
            return;
        }
        let mut count = 1;
        while batch(count, &mut operation) < BATCH_NS {
            count *= 2;
        }
        let mut each: Vec<f64> = (0..BATCHES)
            .map(|_| batch(count, &mut operation) as f64 / count as f64)
            .collect();
        each.sort_by(f64::total_cmp);
        let (least, median) = (each[0], each[BATCHES / 2]);
        let per_s = 1e3 / least;
        println!("{name:44} {least:10.1} ns  (median {median:10.1})  {per_s:9.3} M/s");
    }

    /// The line that the test suites count.
    pub fn finish(self) {
        if self.smoke && !self.list {
            println!("\ntest result: ok. {} passed; 0 failed", self.ran);
        }
    }
}

fn batch<T>(count: u64, operation: &mut impl FnMut() -> T) -> u64 {
    let start = thread_cpu_ns();
    for _ in 0..count {
        black_box(operation());
    }
    thread_cpu_ns() - start
}

fn thread_cpu_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid out pointer.
    let rc = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(rc, 0, "a thread has a CPU clock");
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
