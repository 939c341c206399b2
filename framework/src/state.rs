//! What handlers share, such as a connection pool: one value of each type.

use std::any::{Any, TypeId, type_name};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use crate::outcome::{HandlerError, Verdict};

type Values = HashMap<TypeId, Box<dyn Any + Send + Sync>>;

/// The values that [`App::state`](crate::App::state) was given. A handle.
#[derive(Clone, Default)]
pub struct States(Arc<RwLock<Values>>);

/// A function handler asks for state that the app was not given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no state of type `{0}`: add `.state(…)` with one to the app")]
pub struct MissingState(pub &'static str);

impl HandlerError for MissingState {
    // The app does not start without it; so this is a mistake of an extractor that did not say what it needs.
    fn verdict(&self) -> Verdict {
        Verdict::DeadLetter
    }

    fn class(&self) -> &'static str {
        "missing_state"
    }
}

impl States {
    pub(crate) fn set<T: Clone + Send + Sync + 'static>(&self, value: T) {
        let mut values = self.0.write().unwrap_or_else(PoisonError::into_inner);
        values.insert(TypeId::of::<T>(), Box::new(value));
    }

    pub(crate) fn get<T: Clone + Send + Sync + 'static>(&self) -> Option<T> {
        let values = self.0.read().unwrap_or_else(PoisonError::into_inner);
        values.get(&TypeId::of::<T>())?.downcast_ref().cloned()
    }

    /// Whether there is a value of this type; for [`FromDelivery::needs`](crate::extract::FromDelivery::needs).
    ///
    /// # Errors
    /// Names the type.
    pub fn need<T: Clone + Send + Sync + 'static>(&self) -> Result<(), MissingState> {
        self.get::<T>().map(drop).ok_or(MissingState(type_name::<T>()))
    }
}

/// What each function handler needs.
#[derive(Default)]
pub(crate) struct Needs(Vec<(&'static str, Need)>);

type Need = fn(&States) -> Result<(), MissingState>;

impl Needs {
    pub(crate) fn add(&mut self, handler: &'static str, need: Need) {
        self.0.push((handler, need));
    }

    /// At start, and not at the first message.
    pub(crate) fn check(&self, states: &States) -> Result<(), crate::Error> {
        for (handler, need) in &self.0 {
            need(states).map_err(|missing| crate::Error::State { handler, missing })?;
        }
        Ok(())
    }
}

impl fmt::Debug for States {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("States").finish_non_exhaustive()
    }
}
