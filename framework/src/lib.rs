//! Postroom: handlers for email pipelines, each message handled once.
//!
//! A handler is a type that implements [`Handle`] for a [`Message`]; `#[derive(Handler)]` says under which id, with which
//! idempotency key, and with how much patience. An [`App`] runs handlers on a NATS broker and a SQL database: it claims
//! each delivery in SQL, runs the handler, commits what the handler did together with "this is done", and only then acks.
//!
//! ```no_run
#![doc = include_str!("../../examples/src/bin/confirm_order.rs")]
//! ```
//!
//! # Layout
//! What users write: [`message`], [`handler`], [`spec`], [`outcome`], [`cx`], [`batch`]; [`function`]s with what they [`extract`] from
//! a [`delivery`], and [`layer`]s around it. One delivery: `execute`, `settle`,
//! `heartbeat`. Around it: `runner` pulls into `floor` and `room`, `relay` publishes, [`cron`] fires, `foreign` buries what
//! died elsewhere,
//! [`app`] starts and drains; `lag` tells who is behind; [`trace`] and [`attempt_log`] tell what happened. [`bus`] alone knows the broker,
//! [`store`] alone knows SQL. `retry`, `fingerprint`, `streams`, [`key`] and [`headers`] are pure.

#[macro_use]
mod edge;

pub mod answer;
pub mod app;
pub mod attempt_log;
pub mod batch;
mod buckets;
mod bury;
pub mod bus;
pub mod cron;
pub mod cx;
pub mod delivery;
mod desk;
pub mod durable;
pub mod error;
mod execute;
pub mod explain;
pub mod extract;
mod fingerprint;
mod floor;
mod foreign;
pub mod function;
pub mod handler;
pub mod headers;
mod health;
mod heartbeat;
pub mod key;
mod labels;
mod lag;
pub mod layer;
pub mod message;
mod names;
mod opening;
pub mod outcome;
mod pause;
mod per_key;
mod postponed;
mod rate;
pub mod redact;
mod relay;
mod retention;
mod retry;
mod room;
mod runner;
mod running;
mod settings;
mod settle;
mod slot;
pub mod spec;
mod state;
pub mod store;
pub mod streams;
pub mod terms;
#[cfg(feature = "testing")]
pub mod testing;
pub mod trace;

pub use answer::RequestError;
pub use app::{App, stop_signal};
pub use batch::{BatchCx, HandleBatch, Item};
pub use bus::{Bus, BusError};
pub use cron::{Cron, CronError, Fire, Missed};
pub use cx::{Cx, CxError, MAX_RESULT, ResultError};
pub use delivery::Delivery;
pub use durable::DurableError;
pub use error::{Error, Result};
pub use handler::{Handle, Handler, Reconcile};
pub use headers::Headers;
pub use key::{Key, KeyPart};
pub use layer::{DeliveryError, Next};
pub use message::{Message, Version};
pub use outcome::{Ambiguous, HandlerError, Reconciled, Verdict};
pub use per_key::PerKey;
pub use postroom_derive::{Handler, HandlerError, Message};
pub use rate::Rate;
pub use running::Running;
pub use settings::{DEFAULT_DATABASE_URL, DEFAULT_NATS_URL, Settings, SettingsError, parse_retention};
pub use spec::{Spec, SpecError};
pub use store::{Store, StoreError, Tx};
pub use terms::{Terms, TermsError};
pub use tokio_util::sync::CancellationToken;
pub use trace::TraceContext;
