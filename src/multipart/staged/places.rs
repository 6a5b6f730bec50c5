//! Places for objects on their way from hidden keys.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::respond::{Refusal, RefusalKind};
use crate::s3::S3ErrorCode;

/// Most objects that are brought from their hidden key to their place at a time. Each holds one piece of its object and a few connections,
/// and goes on without its client.
const MAX_RUNNING: usize = 256;
/// Most of one principal, so that nobody keeps the others out.
const MAX_OF_ONE: usize = MAX_RUNNING / 2;

/// All places.
pub(super) struct Places {
    free: Arc<Semaphore>,
    taken: Mutex<HashMap<String, usize>>,
}

impl Default for Places {
    fn default() -> Self {
        Self { free: Arc::new(Semaphore::new(MAX_RUNNING)), taken: Mutex::default() }
    }
}

/// One place; free again when it is dropped.
pub struct Seat {
    places: Arc<Places>,
    principal: String,
    _permit: OwnedSemaphorePermit,
}

impl Places {
    /// Takes a place.
    ///
    /// # Errors
    /// [`Refusal`] if there is none, or none for this principal.
    pub fn take(self: &Arc<Self>, principal: &str) -> Result<Seat, Refusal> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.get(principal).copied().unwrap_or_default();
        if own >= MAX_OF_ONE {
            return Err(too_many(format!("{own} staged objects of one principal are on their way")));
        }
        let permit = Arc::clone(&self.free).try_acquire_owned();
        let permit = permit.map_err(|_| too_many(format!("{MAX_RUNNING} staged objects are on their way")))?;
        taken.insert(principal.to_owned(), own + 1);
        Ok(Seat { places: Arc::clone(self), principal: principal.to_owned(), _permit: permit })
    }

    /// Waits until every place is free.
    pub async fn all_free(&self) {
        let all = u32::try_from(MAX_RUNNING).unwrap_or(u32::MAX);
        drop(self.free.acquire_many(all).await);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        match taken.get_mut(&self.principal) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(taken.remove(&self.principal)),
        }
    }
}

fn too_many(reason: String) -> Refusal {
    let message = "Too many inspected uploads are being completed. Try again.";
    Refusal::new(S3ErrorCode::SlowDown, RefusalKind::Limited, message, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l08_one_principal_leaves_places_for_what_others_complete() {
        let places = Arc::new(Places::default());
        let mut of_one: Vec<_> = (0..MAX_OF_ONE).map(|_| places.take("one").unwrap()).collect();
        assert_eq!(places.take("one").err().unwrap().code, S3ErrorCode::SlowDown);
        let of_another: Vec<_> = (0..MAX_OF_ONE).map(|_| places.take("another").unwrap()).collect();
        assert!(places.take("third").is_err(), "all are taken");
        of_one.pop();
        assert!(places.take("third").is_ok());
        drop((of_one, of_another));
        assert!(places.taken.lock().unwrap().is_empty());
        assert_eq!(places.free.available_permits(), MAX_RUNNING);
    }
}
