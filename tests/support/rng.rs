//! A seeded generator (splitmix64): the same seed gives the same run on every machine.

use relayd::entropy::Entropy;

#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// 0 to `end` - 1; `end` is at least 1.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// True in `per_cent` of 100 cases.
    pub fn chance(&mut self, per_cent: u64) -> bool {
        self.next() % 100 < per_cent
    }

    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }

    pub fn transaction_id(&mut self) -> [u8; 12] {
        let mut id = [0; 12];
        id.copy_from_slice(&self.bytes(12));
        id
    }
}

impl Entropy for Rng {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = self.next() as u8;
        }
    }
}

/// The seed to run with: `RELAYD_SEED` replays one run; without it, every run of the tests is a new one.
pub fn seed_from_env() -> Option<u64> {
    let text = std::env::var("RELAYD_SEED").ok()?;
    Some(
        text.trim()
            .parse()
            .expect("RELAYD_SEED is a decimal number"),
    )
}

pub fn fresh_seed() -> u64 {
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH);
    Rng::new(since.expect("the clock is past 1970").as_nanos() as u64).next() % 1_000_000_000
}
