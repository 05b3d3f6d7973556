//! The system's CSPRNG.

use crate::entropy::Entropy;
use aws_lc_rs::rand;

/// Unpredictable bytes; also used for tickets, passwords and tokens.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRng;

impl Entropy for SystemRng {
    fn fill(&mut self, bytes: &mut [u8]) {
        rand::fill(bytes).expect("the system's random source answers");
    }
}
