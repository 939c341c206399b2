//! What a function handler can ask for, after its message: each argument is taken from the delivery by its type.

use std::convert::Infallible;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::cx::CxError;
use crate::delivery::Delivery;
use crate::desk::Desk;
use crate::headers::Headers;
use crate::key::Key;
use crate::message::Message;
use crate::outcome::HandlerError;
pub use crate::state::{MissingState, States};
use crate::store::outbox::OutboxRow;
use crate::store::{self, Store};
use crate::terms::Terms;
use crate::trace::TraceContext;

/// An argument of a function handler. Implement it for what your handlers need:
///
/// ```
/// use postroom::extract::{FromDelivery, MissingState, State, States};
/// use postroom::Delivery;
///
/// # #[derive(Clone)] struct Tenants;
/// # impl Tenants { fn of(&self, _: Option<&str>) -> String { String::new() } }
/// struct Tenant(String);
///
/// impl FromDelivery for Tenant {
///     type Error = MissingState;
///
///     async fn from_delivery(delivery: &Delivery) -> Result<Self, MissingState> {
///         let State(tenants) = State::<Tenants>::from_delivery(delivery).await?;
///         Ok(Self(tenants.of(delivery.headers().get("Shop-Tenant"))))
///     }
///
///     fn needs(states: &States) -> Result<(), MissingState> {
///         states.need::<Tenants>()
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be an argument of a function handler",
    label = "the function that is given here asks for a `{Self}`",
    note = "after the message, a function handler takes `State<T>`, `Publisher`, `Tx`, `Attempt` of `postroom::extract`, \
            `Headers`, `Key`, `Store`, `Delivery`, `TraceContext`, `Bytes`, and what implements `FromDelivery`"
)]
pub trait FromDelivery: Sized + Send {
    /// How it can fail, and what that means for the message; the function does not run then.
    type Error: HandlerError;

    /// Takes it from the delivery, before the function runs.
    fn from_delivery(delivery: &Delivery) -> impl Future<Output = Result<Self, Self::Error>> + Send;

    /// Whether the app has the state that it needs; asked at start.
    ///
    /// # Errors
    /// Names the state that is missing.
    fn needs(states: &States) -> Result<(), MissingState> {
        let _ = states;
        Ok(())
    }
}

/// What the app was given with [`App::state`](crate::App::state).
#[derive(Debug, Clone, Copy)]
pub struct State<T>(pub T);

/// Which attempt this is, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt(pub i64);

/// Publishes when, and only when, the delivery commits.
#[derive(Debug, Clone)]
pub struct Publisher(Desk);

/// The transaction that commits with the delivery, begun when it is first asked for.
#[derive(Debug)]
pub struct Tx {
    desk: Desk,
    open: Option<store::Tx>,
}

impl Publisher {
    /// Publishes `message` with this delivery, if that succeeds.
    ///
    /// # Errors
    /// When it can't be encoded, is larger than a broker takes, or the delivery is over.
    // Async as `Cx::publish` is.
    #[allow(
        clippy::unused_async,
        reason = "where it is written to is the framework's to change"
    )]
    pub async fn publish<M: Message>(&self, message: &M) -> Result<(), CxError> {
        self.0.publish(OutboxRow::of(message)?)
    }

    /// As [`Cx::publish_at`](crate::Cx::publish_at).
    ///
    /// # Errors
    /// As [`publish`](Self::publish), and when that is more than [`MAX_AHEAD`](crate::terms::MAX_AHEAD) from now.
    pub async fn publish_at<M: Message>(&self, time: SystemTime, message: &M) -> Result<String, CxError> {
        self.publish_on(&Terms::default().at(time), message).await
    }

    /// As [`Cx::publish_after`](crate::Cx::publish_after).
    ///
    /// # Errors
    /// As [`publish_at`](Self::publish_at).
    pub async fn publish_after<M: Message>(&self, delay: Duration, message: &M) -> Result<String, CxError> {
        self.publish_on(&Terms::default().after(delay), message).await
    }

    /// As [`Cx::publish_on`](crate::Cx::publish_on).
    ///
    /// # Errors
    /// As [`publish`](Self::publish), and when the terms can't be kept.
    #[allow(clippy::unused_async, reason = "as `publish` is")]
    pub async fn publish_on<M: Message>(&self, terms: &Terms, message: &M) -> Result<String, CxError> {
        let row = OutboxRow::on(terms, message)?;
        let id = row.id.clone();
        self.0.publish(row)?;
        Ok(id)
    }
}

impl Tx {
    /// Begins the transaction, or goes on with it. On SQLite it holds the one writer: open it late, and await nothing slow
    /// after that.
    ///
    /// # Errors
    /// When the database is away, another argument of this delivery has the transaction, or the delivery is over.
    pub async fn open(&mut self) -> Result<&mut store::Tx, CxError> {
        if self.open.is_none() {
            self.open = Some(self.desk.borrow().await?);
        }
        self.open.as_mut().ok_or(CxError::Over)
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        if let Some(tx) = self.open.take() {
            self.desk.give_back(tx);
        }
    }
}

impl<T: Clone + Send + Sync + 'static> FromDelivery for State<T> {
    type Error = MissingState;

    async fn from_delivery(delivery: &Delivery) -> Result<Self, MissingState> {
        let found = delivery.state().map(Self);
        found.ok_or(MissingState(std::any::type_name::<T>()))
    }

    fn needs(states: &States) -> Result<(), MissingState> {
        states.need::<T>()
    }
}

/// Arguments that every delivery has.
macro_rules! always {
    ($($argument:ty = $delivery:ident => $taken:expr;)+) => { $(
        impl FromDelivery for $argument {
            type Error = Infallible;

            async fn from_delivery($delivery: &Delivery) -> Result<Self, Infallible> {
                Ok($taken)
            }
        }
    )+ };
}

always! {
    Attempt = delivery => Self(delivery.attempt());
    Publisher = delivery => Self(delivery.desk.clone());
    Tx = delivery => Self { desk: delivery.desk.clone(), open: None };
    Headers = delivery => delivery.headers().clone();
    Key = delivery => delivery.key().clone();
    Store = delivery => delivery.store().clone();
    Bytes = delivery => delivery.payload().clone();
    TraceContext = delivery => delivery.trace().cloned().unwrap_or_else(TraceContext::root);
    Delivery = delivery => delivery.clone();
}
