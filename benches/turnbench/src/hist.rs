//! Log-linear histogram: 64 linear steps in every power of two (error below 1.6 %).

const SUB_BITS: u32 = 6;
const SUB: usize = 1 << SUB_BITS;

pub struct Hist {
    counts: Vec<u64>,
    total: u64,
    max: u64,
    sum: u128,
}

impl Default for Hist {
    fn default() -> Self {
        Hist {
            counts: vec![0; SUB * 60],
            total: 0,
            max: 0,
            sum: 0,
        }
    }
}

impl Hist {
    #[inline]
    fn slot(v: u64) -> usize {
        if v < SUB as u64 {
            return v as usize;
        }
        let shift = 63 - v.leading_zeros() - SUB_BITS;
        (shift as usize + 1) * SUB + ((v >> shift) as usize - SUB)
    }

    fn value(slot: usize) -> u64 {
        if slot < SUB {
            return slot as u64;
        }
        let shift = (slot / SUB - 1) as u32;
        ((SUB + slot % SUB) as u64) << shift
    }

    #[inline]
    pub fn add(&mut self, v: u64) {
        let slot = Self::slot(v).min(self.counts.len() - 1);
        self.counts[slot] += 1;
        self.total += 1;
        self.sum += v as u128;
        self.max = self.max.max(v);
    }

    pub fn count(&self) -> u64 {
        self.total
    }

    pub fn quantile(&self, q: f64) -> u64 {
        let want = (self.total as f64 * q).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (slot, c) in self.counts.iter().enumerate() {
            seen += c;
            if seen >= want {
                return Self::value(slot).min(self.max);
            }
        }
        self.max
    }

    /// Quantiles in microseconds, values having been added in nanoseconds.
    pub fn micros(&self) -> serde_json::Value {
        let us = |v: u64| (v as f64 / 100.0).round() / 10.0;
        serde_json::json!({
            "n": self.total,
            "mean": us((self.sum / self.total.max(1) as u128) as u64),
            "p50": us(self.quantile(0.50)),
            "p99": us(self.quantile(0.99)),
            "p999": us(self.quantile(0.999)),
            "max": us(self.max),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_close() {
        let mut h = Hist::default();
        (1..=100_000u64).for_each(|v| h.add(v));
        for (q, want) in [(0.5, 50_000.0), (0.99, 99_000.0), (0.999, 99_900.0)] {
            let got = h.quantile(q) as f64;
            assert!((got - want).abs() / want < 0.02, "{q}: {got} vs {want}");
        }
        assert!(h.quantile(1.0) <= 100_000);
    }
}
