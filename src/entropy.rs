//! Randomness as an argument: `sys::rng` in the server, a seeded generator in simulations.

/// A source of unpredictable bytes.
pub trait Entropy: Send {
    fn fill(&mut self, bytes: &mut [u8]);
}
