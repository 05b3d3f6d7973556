//! Limits: byte rates, event rates per source in fixed-size tables, and quotas of allocations.
//!
//! Time is an argument: nanoseconds since an epoch that all users of one limiter share. Everything that several
//! workers share is atomic; only `Quotas` locks, and it is not on the packet path.

pub mod bucket;
pub mod quota;
pub mod table;

pub use bucket::{ByteBucket, SharedByteBucket};
pub use quota::{Maxima, QuotaError, Quotas, Share, User};
pub use table::{RateTable, RecentTable, SourcePrefix};
