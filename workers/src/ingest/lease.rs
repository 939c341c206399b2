//! One process per mailbox. Every transaction of ingest asks whether the lease is still held, so a process that lost
//! it without noticing changes nothing.

use std::time::Duration;

use postroom::store::leases;
use postroom::{Store, StoreError, Tx};
use tokio::time::Instant;

use super::error::IngestError;

/// A process that died leaves its mailboxes to the others after this: soon, as deliveries do.
const LEASE: Duration = Duration::from_secs(6);
const RENEW_EVERY: Duration = Duration::from_secs(2);
/// How often a process that stands by asks whether the mailbox is free.
pub(super) const ASK_AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
pub(super) struct Lease {
    store: Store,
    name: String,
    fence: i64,
}

impl Lease {
    /// Takes the mailbox, or `None` while another process has it.
    pub(super) async fn take(
        store: &Store,
        account: &str,
        mailbox: &str,
    ) -> Result<Option<Self>, StoreError> {
        let name = format!("ingest/{account}/{mailbox}");
        let mut tx = store.begin().await?;
        let fence = leases::take(&mut tx, &name, LEASE).await?;
        tx.commit().await?;
        Ok(fence.map(|fence| Self {
            store: store.clone(),
            name,
            fence,
        }))
    }

    /// Prolongs the lease for as long as it is polled; ends when the lease is lost.
    pub(super) async fn keep(&self) {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(RENEW_EVERY).await;
            match self.renew().await {
                Ok(true) => renewed = Instant::now(),
                Ok(false) => return,
                // The database may be back before the lease runs out.
                Err(_) if renewed.elapsed() < LEASE => {}
                Err(_) => return,
            }
        }
    }

    async fn renew(&self) -> Result<bool, StoreError> {
        let mut tx = self.store.begin().await?;
        let fence = leases::take(&mut tx, &self.name, LEASE).await?;
        tx.commit().await?;
        Ok(fence == Some(self.fence))
    }

    /// Begins a transaction that can only commit while the lease is held.
    pub(super) async fn begin(&self) -> Result<Tx, IngestError> {
        let mut tx = self.store.begin().await?;
        match leases::holds(&mut tx, &self.name, self.fence).await? {
            true => Ok(tx),
            false => Err(IngestError::LeaseLost),
        }
    }

    /// Lets the next process begin at once.
    pub(super) async fn release(self) {
        let released = async {
            let mut tx = self.store.begin().await?;
            leases::release(&mut tx, &self.name, self.fence).await?;
            tx.commit().await
        };
        if let Err(error) = released.await {
            tracing::debug!(lease = %self.name, %error, "a lease could not be given up; it runs out by itself");
        }
    }
}
