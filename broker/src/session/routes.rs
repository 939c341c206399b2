//! A session's memory of where subjects lead, so that a busy publisher does not search the tree for each message.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::realm::Login;
use crate::jetstream::{Ingress, JetStream};
use crate::router::Matches;
use crate::subject;

/// More subjects than this in a row are no pattern worth remembering.
const CACHED_SUBJECTS_MAX: usize = 1024;

/// Everything that happens to a message on one subject.
#[derive(Debug, Default)]
pub struct Route {
    pub may_publish: bool,
    pub matches: Matches,
    pub ingress: Ingress,
}

#[derive(Debug)]
pub struct Routes {
    login: Arc<Login>,
    known: HashMap<Bytes, Route>,
    generation: (u64, u64),
    /// For subjects that are used once, such as reply inboxes.
    once: Route,
}

impl Routes {
    pub fn new(login: Arc<Login>) -> Routes {
        Routes {
            login,
            known: HashMap::new(),
            generation: (0, 0),
            once: Route::default(),
        }
    }

    pub fn find(&mut self, subject: &[u8]) -> &Route {
        // Read before looking up: a change during the look-up then invalidates what is remembered.
        let generation = (
            self.login.account.router.generation(),
            self.login
                .account
                .jetstream
                .as_ref()
                .map_or(0, JetStream::generation),
        );
        if generation != self.generation || self.known.len() >= CACHED_SUBJECTS_MAX {
            self.known.clear();
            self.generation = generation;
        }
        // Where JetStream's own subjects lead changes as consumers come and go, which no generation tells.
        if subject.starts_with(b"_INBOX.") || subject.starts_with(b"$JS.") {
            fill(&mut self.once, &self.login, subject);
            return &self.once;
        }
        if !self.known.contains_key(subject) {
            let mut route = Route::default();
            fill(&mut route, &self.login, subject);
            self.known.insert(Bytes::copy_from_slice(subject), route);
        }
        &self.known[subject]
    }
}

/// Wildcards in a published subject are taken literally by subscribers, as in nats-server, and never stored; a
/// subject with an empty token leads nowhere.
fn fill(route: &mut Route, login: &Login, subject: &[u8]) {
    route.ingress = Ingress::None;
    route.matches.clear();
    route.may_publish = login.permissions.may_publish(subject);
    let account = &login.account;
    if subject::tokens(subject).all(|token| !token.is_empty()) {
        account.router.collect(subject, &mut route.matches);
    }
    // A request may end in the filter that it is about.
    let is_request = subject.starts_with(b"$JS.API.");
    if let Some(jetstream) = account
        .jetstream
        .as_ref()
        .filter(|_| is_request || subject::is_literal(subject))
    {
        route.ingress = jetstream.ingress(subject);
    }
}
