//! One process per mailbox. Every transaction of ingest asks whether the lease is still held, so a process that lost
//! it without noticing changes nothing.

use std::time::Duration;

use postroom::store::leases;
use postroom::{Store, StoreError, Tx};
use tokio::time::Instant;

use super::error::IngestError;

#[derive(Debug, Clone)]
pub(super) struct Lease {
    store: Store,
    name: String,
    length: Duration,
    fence: i64,
}

impl Lease {
    /// Takes the mailbox, or `None` while another process has it.
    pub(super) async fn take(
        store: &Store,
        account: &str,
        mailbox: &str,
        length: Duration,
    ) -> Result<Option<Self>, StoreError> {
        let name = format!("ingest/{account}/{mailbox}");
        let mut tx = store.begin().await?;
        let fence = leases::take(&mut tx, &name, length).await?;
        tx.commit().await?;
        Ok(fence.map(|fence| Self {
            store: store.clone(),
            name,
            length,
            fence,
        }))
    }

    /// Prolongs the lease for as long as it is polled; ends when the lease is lost.
    pub(super) async fn keep(&self) {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(self.length / 3).await;
            match self.renew().await {
                Ok(true) => renewed = Instant::now(),
                Ok(false) => return,
                // The database may be back before the lease runs out.
                Err(_) if renewed.elapsed() < self.length => {}
                Err(_) => return,
            }
        }
    }

    async fn renew(&self) -> Result<bool, StoreError> {
        let mut tx = self.store.begin().await?;
        let fence = leases::take(&mut tx, &self.name, self.length).await?;
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
