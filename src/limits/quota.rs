//! Quotas of allocations: per user and in total, over all workers.
//!
//! Invariant: a user is in the table exactly while it has allocations, so the table is as large as they are.

use crate::limits::bucket::SharedByteBucket;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What one user's allocations on all workers share.
#[derive(Debug)]
pub struct User {
    name: Box<str>,
    /// Changed under the table's lock alone.
    allocations: AtomicU32,
    pub to_peer: SharedByteBucket,
    pub to_client: SharedByteBucket,
}

impl User {
    pub fn allocations(&self) -> u32 {
        self.allocations.load(Ordering::Relaxed)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuotaError {
    #[error("the user has as many allocations as it may")]
    User,
    #[error("the server has as many allocations as it may")]
    Total,
}

/// Live allocations of the server and of each user.
#[derive(Debug, Default)]
pub struct Quotas {
    total: AtomicU32,
    users: Mutex<HashMap<Box<str>, Arc<User>>>,
}

impl Quotas {
    /// Takes one allocation for `name`; a maximum of 0 means no limit.
    pub fn acquire(
        &self,
        name: &str,
        per_user_max: u32,
        total_max: u32,
    ) -> Result<Arc<User>, QuotaError> {
        let mut users = self.users();
        let held = users.get(name).map_or(0, |user| user.allocations());
        if per_user_max != 0 && held >= per_user_max {
            return Err(QuotaError::User);
        }
        if total_max != 0 && self.total() >= total_max {
            return Err(QuotaError::Total);
        }
        let user = match users.get(name) {
            Some(user) => Arc::clone(user),
            None => {
                let user = Arc::new(User {
                    name: name.into(),
                    allocations: AtomicU32::new(0),
                    to_peer: SharedByteBucket::default(),
                    to_client: SharedByteBucket::default(),
                });
                users.insert(name.into(), Arc::clone(&user));
                user
            }
        };
        user.allocations.fetch_add(1, Ordering::Relaxed);
        self.total.fetch_add(1, Ordering::Relaxed);
        Ok(user)
    }

    /// Gives back what one `acquire` took.
    pub fn release(&self, user: &User) {
        let mut users = self.users();
        self.total.fetch_sub(1, Ordering::Relaxed);
        if user.allocations.fetch_sub(1, Ordering::Relaxed) > 1 {
            return;
        }
        users.remove(&user.name);
        if users.capacity() > 64 && users.len() < users.capacity() / 4 {
            users.shrink_to_fit();
        }
    }

    /// Live allocations of the server.
    pub fn total(&self) -> u32 {
        self.total.load(Ordering::Relaxed)
    }

    /// A panic while the table is held leaves it whole: each change is one map operation.
    fn users(&self) -> MutexGuard<'_, HashMap<Box<str>, Arc<User>>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_at_its_quota_is_refused_and_others_are_not() {
        let quotas = Quotas::default();
        let first = quotas.acquire("ann", 2, 0).expect("under the quota");
        let _second = quotas.acquire("ann", 2, 0).expect("under the quota");
        assert_eq!(quotas.acquire("ann", 2, 0).err(), Some(QuotaError::User));
        assert!(quotas.acquire("bob", 2, 0).is_ok());
        quotas.release(&first);
        assert!(quotas.acquire("ann", 2, 0).is_ok());
    }

    #[test]
    fn the_total_holds_over_all_users() {
        let quotas = Quotas::default();
        let ann = quotas.acquire("ann", 0, 2).expect("under the total");
        let _bob = quotas.acquire("bob", 0, 2).expect("under the total");
        assert_eq!(quotas.acquire("eve", 0, 2).err(), Some(QuotaError::Total));
        quotas.release(&ann);
        assert!(quotas.acquire("eve", 0, 2).is_ok());
    }

    #[test]
    fn a_user_without_allocations_takes_no_room() {
        let quotas = Quotas::default();
        for n in 0..1000 {
            let user = quotas.acquire(&n.to_string(), 0, 0).expect("no limit");
            quotas.release(&user);
        }
        assert_eq!(quotas.users().len(), 0);
        assert_eq!(quotas.total(), 0);
    }
}
