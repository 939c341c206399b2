//! Handlers that are functions: `async fn(message, argument, …) -> Result<(), E>`.
//!
//! They become what a type with `Handle` is, under a [`Spec`] that says what `#[handler(…)]` would.

use std::error::Error;
use std::fmt;
use std::marker::PhantomData;

use crate::app::App;
use crate::cx::{Cx, CxError};
use crate::delivery::Delivery;
use crate::extract::FromDelivery;
use crate::handler::Handle;
use crate::message::Message;
use crate::outcome::{HandlerError, Verdict};
use crate::spec::Spec;
use crate::state::{MissingState, States};

/// An `async fn` whose first argument is the message `M`, and whose other arguments are `A`.
#[diagnostic::on_unimplemented(
    message = "this is no function handler",
    label = "not an `async fn(message, argument, …)`",
    note = "write `async fn name(message: YourMessage, …) -> Result<(), E>`, with up to eight arguments after the message"
)]
pub trait HandlerFn<M, A>: Send + Sync + 'static {
    /// What it comes to.
    type Answer;
    /// What it returns.
    type Future: Future<Output = Self::Answer>;

    /// Calls it.
    fn call(&self, message: M, arguments: A) -> Self::Future;
}

/// What a function handler may come to: `Result<(), E>`, where `E` says what an error means, or nothing.
#[diagnostic::on_unimplemented(
    message = "a function handler can't come to `{Self}`",
    label = "the function that is given here returns `{Self}`",
    note = "return `Result<(), E>`, where `E` is a `HandlerError`, or nothing at all"
)]
pub trait Answer {
    /// As the executor takes it.
    ///
    /// # Errors
    /// The handler's own.
    fn into_result(self) -> Result<(), FunctionError>;
}

impl<E: HandlerError> Answer for Result<(), E> {
    fn into_result(self) -> Result<(), FunctionError> {
        self.map_err(FunctionError::of)
    }
}

impl Answer for () {
    fn into_result(self) -> Result<(), FunctionError> {
        Ok(())
    }
}

/// The error of a function handler, or of one of its arguments, with its verdict.
#[derive(Debug)]
pub struct FunctionError {
    verdict: Verdict,
    class: &'static str,
    error: Box<dyn Error + Send + Sync>,
}

impl FunctionError {
    fn of<E: HandlerError>(error: E) -> Self {
        Self {
            verdict: error.verdict(),
            class: error.class(),
            error: Box::new(error),
        }
    }
}

impl fmt::Display for FunctionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Error for FunctionError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

impl HandlerError for FunctionError {
    const CAN_BE_AMBIGUOUS: bool = true;

    fn verdict(&self) -> Verdict {
        self.verdict
    }

    fn class(&self) -> &'static str {
        self.class
    }
}

/// The arguments after the message.
#[diagnostic::on_unimplemented(
    message = "`{Self}` are no arguments of a function handler",
    note = "a function handler takes up to eight arguments after its message"
)]
pub trait Arguments: Sized + Send + 'static {
    /// Takes each from the delivery, in their order.
    fn take(delivery: &Delivery) -> impl Future<Output = Result<Self, FunctionError>> + Send;

    /// Whether the app has the state that they need.
    ///
    /// # Errors
    /// Names the first state that is missing.
    fn needs(states: &States) -> Result<(), MissingState>;
}

macro_rules! arguments {
    ($($argument:ident)*) => {
        impl<$($argument: FromDelivery + 'static),*> Arguments for ($($argument,)*) {
            async fn take(delivery: &Delivery) -> Result<Self, FunctionError> {
                let _ = delivery;
                Ok(($($argument::from_delivery(delivery).await.map_err(FunctionError::of)?,)*))
            }

            fn needs(states: &States) -> Result<(), MissingState> {
                let _ = states;
                $($argument::needs(states)?;)*
                Ok(())
            }
        }

        impl<F, Fut, M, $($argument),*> HandlerFn<M, ($($argument,)*)> for F
        where
            F: Fn(M, $($argument),*) -> Fut + Send + Sync + 'static,
            Fut: Future,
        {
            type Answer = Fut::Output;
            type Future = Fut;

            #[allow(non_snake_case, reason = "a type parameter's name is the handiest one for its value")]
            fn call(&self, message: M, ($($argument,)*): ($($argument,)*)) -> Fut {
                self(message, $($argument),*)
            }
        }
    };
}

arguments!();
arguments!(A1);
arguments!(A1 A2);
arguments!(A1 A2 A3);
arguments!(A1 A2 A3 A4);
arguments!(A1 A2 A3 A4 A5);
arguments!(A1 A2 A3 A4 A5 A6);
arguments!(A1 A2 A3 A4 A5 A6 A7);
arguments!(A1 A2 A3 A4 A5 A6 A7 A8);

impl App {
    /// Adds a function as a handler: `async fn(message, argument, …) -> Result<(), E>`. What its arguments may be is in
    /// [`extract`](crate::extract).
    ///
    /// ```no_run
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize, postroom::Message)]
    /// # #[message(subject = "orders.created", id = "orders.created.v1")]
    /// # struct OrderCreated { order: String }
    /// # #[derive(Clone)] struct Prices;
    /// # fn app(app: postroom::App) -> postroom::App {
    /// use postroom::extract::{Attempt, State, Tx};
    /// use postroom::{CxError, Spec};
    ///
    /// async fn confirm(order: OrderCreated, State(prices): State<Prices>, mut tx: Tx, attempt: Attempt) -> Result<(), CxError> {
    ///     tx.open().await?.publish(&order).await?;
    ///     Ok(())
    /// }
    /// app.state(Prices).function(Spec::new("confirm-order"), confirm)
    /// # }
    /// ```
    #[must_use]
    pub fn function<M, A, F>(mut self, spec: Spec<M>, function: F) -> Self
    where
        M: Message,
        A: Arguments,
        F: HandlerFn<M, A>,
        F::Future: Send,
        F::Answer: Answer,
    {
        let id = spec.policy.id;
        self.needs.add(id, A::needs);
        let function = Function::new(id, function, self.states.clone());
        self.handler_with(spec, function)
    }

    /// Gives function handlers a value to ask for with [`State<T>`](crate::extract::State): one of each type.
    #[must_use]
    pub fn state<T: Clone + Send + Sync + 'static>(self, value: T) -> Self {
        self.states.set(value);
        self
    }
}

/// A function as a handler.
pub(crate) struct Function<F, A> {
    id: &'static str,
    function: F,
    states: States,
    arguments: PhantomData<fn(A)>,
}

impl<F, A> Function<F, A> {
    pub(crate) fn new(id: &'static str, function: F, states: States) -> Self {
        let arguments = PhantomData;
        Self {
            id,
            function,
            states,
            arguments,
        }
    }
}

impl<M, A, F> Handle<M> for Function<F, A>
where
    M: Message,
    A: Arguments,
    F: HandlerFn<M, A>,
    F::Future: Send,
    F::Answer: Answer,
{
    type Error = FunctionError;

    async fn handle(&self, message: M, cx: &mut Cx<'_>) -> Result<(), FunctionError> {
        let delivery = Delivery::of(self.id, cx, self.states.clone());
        let arguments = A::take(&delivery).await?;
        let answer = self.function.call(message, arguments).await.into_result();
        let handed: Result<(), CxError> = delivery.hand_over(cx);
        answer?;
        handed.map_err(FunctionError::of)
    }
}
