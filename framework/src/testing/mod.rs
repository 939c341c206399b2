//! A kit for tests of handlers: broker, database, worker and clock in the test's own process, and a hand on each of them.
//!
//! The broker is postroom's own, on loopback. The database is SQLite in memory, opened as in production, so that several
//! worker processes can share it. A worker process is a thread with a runtime of its own, which can be killed or stopped
//! at any [`Edge`] of a delivery. Time stands still but for what a test waits for: leases, delays and retries of hours
//! pass in milliseconds.
//!
//! ```
//! # use postroom::{Cx, CxError, Handle, Handler, Message};
//! # use serde::{Deserialize, Serialize};
//! use postroom::testing::{Edge, Kit, assert_published};
//! #
//! # #[derive(Debug, Serialize, Deserialize, Message)]
//! # #[message(subject = "orders.created", id = "orders.created.v1")]
//! # struct OrderCreated { order: String }
//! # #[derive(Debug, Serialize, Deserialize, Message)]
//! # #[message(subject = "orders.thanked", id = "orders.thanked.v1")]
//! # struct Thanked { text: String }
//! # #[derive(Handler)]
//! # #[handler(on = OrderCreated, id = "thank-you", idempotent(key = [order], ttl = "7d"))]
//! # struct ThankYou;
//! # impl Handle<OrderCreated> for ThankYou {
//! #     type Error = CxError;
//! #     async fn handle(&self, created: OrderCreated, cx: &mut Cx<'_>) -> Result<(), CxError> {
//! #         cx.publish(&Thanked { text: format!("thank you for {}", created.order) }).await
//! #     }
//! # }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let order = OrderCreated { order: "A1".to_owned() };
//! for edge in Edge::ALL {
//!     let kit = Kit::start(|app| app.handler(ThankYou)).await;
//!     kit.deliver(&order).twice().crash_at(*edge).await;
//!     kit.assert_effects(1);
//!     assert_published!(kit, Thanked { text } if text.contains("A1"));
//! }
//! # }
//! ```
//!
//! The kit panics where a test is to fail, and says what it saw.

#![allow(
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking, its set-up too"
)]

mod delivery;
mod kit;
mod process;
mod published;
mod time;

use std::sync::Arc;

pub use delivery::{Delivery, Outcome};
pub use kit::Kit;

pub use crate::assert_published;
pub use crate::edge::Edge;

/// What makes the app of each worker process that a kit starts.
type Build = Arc<dyn Fn(crate::App) -> crate::App + Send + Sync>;
