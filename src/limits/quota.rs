//! Quotas of allocations: per user and in total, over all workers.
//!
//! A port that is reserved for a later allocation (EVEN-PORT) counts as one of the user who reserved it, until it
//! is claimed or its time is over: else a user could hold any number of ports without an allocation.
//! Invariant: a user is in the table exactly while something counts for it, so the table is as large as that is.

use crate::limits::bucket::SharedByteBucket;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What one user's allocations on all workers share.
#[derive(Debug)]
pub struct User {
    name: Box<str>,
    /// Allocations and reserved ports. Changed under the table's lock alone.
    held: AtomicU32,
    pub to_peer: SharedByteBucket,
    pub to_client: SharedByteBucket,
}

impl User {
    /// Live allocations and reserved ports of this user.
    pub fn held(&self) -> u32 {
        self.held.load(Ordering::Relaxed)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuotaError {
    #[error("the user has as many allocations as it may")]
    User,
    #[error("the server has as many allocations as it may")]
    Total,
}

/// Names a reserved port.
pub type Token = [u8; 8];

/// What is to be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    Allocation,
    /// An allocation, and a port that is reserved until then.
    AllocationAndReserved {
        token: Token,
        until_ns: u64,
    },
    /// The allocation of a reserved port, which then counts for its new owner alone.
    Claim(Token),
}

/// At most so many; 0 means no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Maxima {
    pub per_user: u32,
    pub total: u32,
}

/// Live allocations and reserved ports of the server and of each user.
#[derive(Debug, Default)]
pub struct Quotas {
    total: AtomicU32,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    users: HashMap<Box<str>, Arc<User>>,
    reserved: HashMap<Token, Reserved>,
}

#[derive(Debug)]
struct Reserved {
    user: Arc<User>,
    until_ns: u64,
}

impl Quotas {
    /// Takes `share` for `name`, or nothing.
    pub fn acquire(
        &self,
        name: &str,
        share: Share,
        now_ns: u64,
        maxima: Maxima,
    ) -> Result<Arc<User>, QuotaError> {
        let mut table = self.table();
        self.sweep(&mut table, now_ns);
        let claimed = match share {
            Share::Claim(token) => table.reserved.get(&token),
            Share::Allocation | Share::AllocationAndReserved { .. } => None,
        };
        let own = claimed.is_some_and(|reserved| *reserved.user.name == *name);
        let (given_back, own) = (u32::from(claimed.is_some()), u32::from(own));
        let wanted = match share {
            Share::AllocationAndReserved { .. } => 2,
            Share::Allocation | Share::Claim(_) => 1,
        };
        let held = table.users.get(name).map_or(0, |user| user.held());
        if maxima.per_user != 0 && held - own + wanted > maxima.per_user {
            return Err(QuotaError::User);
        }
        if maxima.total != 0 && self.total() - given_back + wanted > maxima.total {
            return Err(QuotaError::Total);
        }
        let user = table.user(name);
        user.held.fetch_add(wanted, Ordering::Relaxed);
        self.total.fetch_add(wanted, Ordering::Relaxed);
        match share {
            Share::Allocation => {}
            Share::AllocationAndReserved { token, until_ns } => {
                let user = Arc::clone(&user);
                table.reserved.insert(token, Reserved { user, until_ns });
            }
            Share::Claim(token) => self.unreserve(&mut table, token),
        }
        Ok(user)
    }

    /// Gives back one allocation that an `acquire` took.
    pub fn release(&self, user: &User) {
        self.give_back(&mut self.table(), user);
    }

    /// Gives back all that an `acquire` took for what did not come about.
    pub fn undo(&self, user: &User, share: Share) {
        let mut table = self.table();
        self.give_back(&mut table, user);
        if let Share::AllocationAndReserved { token, .. } = share {
            self.unreserve(&mut table, token);
        }
    }

    /// Live allocations of the server, and ports that were reserved when it was last asked for one.
    pub fn total(&self) -> u32 {
        self.total.load(Ordering::Relaxed)
    }

    /// Forgets reservations whose time is over.
    fn sweep(&self, table: &mut Table, now_ns: u64) {
        if table.reserved.is_empty() {
            return;
        }
        let over = |(token, reserved): (&Token, &Reserved)| {
            (reserved.until_ns <= now_ns).then_some(*token)
        };
        let over: Vec<Token> = table.reserved.iter().filter_map(over).collect();
        for token in over {
            self.unreserve(table, token);
        }
    }

    fn unreserve(&self, table: &mut Table, token: Token) {
        if let Some(reserved) = table.reserved.remove(&token) {
            self.give_back(table, &reserved.user);
        }
    }

    fn give_back(&self, table: &mut Table, user: &User) {
        self.total.fetch_sub(1, Ordering::Relaxed);
        if user.held.fetch_sub(1, Ordering::Relaxed) > 1 {
            return;
        }
        let users = &mut table.users;
        users.remove(&user.name);
        if users.capacity() > 64 && users.len() < users.capacity() / 4 {
            users.shrink_to_fit();
        }
    }

    /// A panic while the table is held leaves it whole: each change is one map operation.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn user(&mut self, name: &str) -> Arc<User> {
        if let Some(user) = self.users.get(name) {
            return Arc::clone(user);
        }
        let user = Arc::new(User {
            name: name.into(),
            held: AtomicU32::new(0),
            to_peer: SharedByteBucket::default(),
            to_client: SharedByteBucket::default(),
        });
        self.users.insert(name.into(), Arc::clone(&user));
        user
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_at_its_quota_is_refused_and_others_are_not() {
        let quotas = Quotas::default();
        let first = take(&quotas, "ann", 2, 0).expect("under the quota");
        let _second = take(&quotas, "ann", 2, 0).expect("under the quota");
        assert_eq!(take(&quotas, "ann", 2, 0).err(), Some(QuotaError::User));
        assert!(take(&quotas, "bob", 2, 0).is_ok());
        quotas.release(&first);
        assert!(take(&quotas, "ann", 2, 0).is_ok());
    }

    #[test]
    fn the_total_holds_over_all_users() {
        let quotas = Quotas::default();
        let ann = take(&quotas, "ann", 0, 2).expect("under the total");
        let _bob = take(&quotas, "bob", 0, 2).expect("under the total");
        assert_eq!(take(&quotas, "eve", 0, 2).err(), Some(QuotaError::Total));
        quotas.release(&ann);
        assert!(take(&quotas, "eve", 0, 2).is_ok());
    }

    #[test]
    fn a_user_without_allocations_takes_no_room() {
        let quotas = Quotas::default();
        for n in 0..1000 {
            let user = take(&quotas, &n.to_string(), 0, 0).expect("no limit");
            quotas.release(&user);
        }
        assert_eq!(quotas.table().users.len(), 0);
        assert_eq!(quotas.total(), 0);
    }

    #[test]
    fn a_reserved_port_counts_until_its_time_is_over() {
        let quotas = Quotas::default();
        let ann = quotas.acquire("ann", RESERVING, 0, maxima(2, 2));
        quotas.release(&ann.expect("under the quota"));
        let next = |now_ns| quotas.acquire("ann", RESERVING, now_ns, maxima(2, 0));
        assert_eq!(next(29).err(), Some(QuotaError::User));
        assert_eq!(take(&quotas, "bob", 0, 1).err(), Some(QuotaError::Total));
        assert!(next(30).is_ok());
        assert_eq!(quotas.total(), 2);
    }

    #[test]
    fn a_claimed_port_counts_once_for_whoever_claims_it() {
        let quotas = Quotas::default();
        let ann = quotas.acquire("ann", RESERVING, 0, maxima(2, 0));
        let ann = ann.expect("under the quota");
        let claim = |name, max| quotas.acquire(name, Share::Claim(TOKEN), 1, maxima(max, 2));
        let refused = claim("ann", 1).err();
        assert_eq!((refused, ann.held()), (Some(QuotaError::User), 2));
        let bob = claim("bob", 1).expect("under the quota");
        assert_eq!((ann.held(), bob.held(), quotas.total()), (1, 1, 2));
        let again = claim("bob", 0).err();
        assert_eq!(again, Some(QuotaError::Total), "nothing is left to claim");
    }

    #[test]
    fn what_is_undone_leaves_nothing() {
        let quotas = Quotas::default();
        for share in [Share::Allocation, RESERVING, Share::Claim(TOKEN)] {
            let user = quotas.acquire("ann", share, 0, maxima(0, 0));
            quotas.undo(&user.expect("no limit"), share);
            assert_eq!(quotas.total(), 0);
        }
        let table = quotas.table();
        assert!(table.users.is_empty() && table.reserved.is_empty());
    }

    const TOKEN: Token = [7; 8];
    const RESERVING: Share = Share::AllocationAndReserved {
        token: TOKEN,
        until_ns: 30,
    };

    fn maxima(per_user: u32, total: u32) -> Maxima {
        Maxima { per_user, total }
    }

    fn take(
        quotas: &Quotas,
        name: &str,
        per_user: u32,
        total: u32,
    ) -> Result<Arc<User>, QuotaError> {
        quotas.acquire(name, Share::Allocation, 0, maxima(per_user, total))
    }
}
