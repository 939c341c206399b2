//! SUB and UNSUB, and what becomes of subscriptions when permissions change.

use std::sync::Arc;

use bytes::Bytes;

use super::routes::Routes;
use super::{Login, Session};
use crate::protocol::{ClientError, Violation, write};
use crate::router::{Subscription, Wakes};
use crate::subject::{Filter, tokens};

impl Session {
    pub(super) fn subscribe(
        &self,
        login: &Login,
        subject: &[u8],
        queue: Option<&[u8]>,
        sid: &[u8],
        wakes: &mut Wakes,
    ) -> Result<(), ClientError> {
        let Some(filter) = Filter::parse(subject) else {
            // A sid in use keeps its first subscription, and nobody looks at the second one.
            if self.client.subscription(sid).is_some() {
                self.confirm(wakes);
                return Ok(());
            }
            return self.refuse(ClientError::InvalidSubject, wakes);
        };
        let Some(withheld) = login.permissions.subscribe(&filter, queue) else {
            return self.deny(Violation::Subscribe { subject, queue }, wakes);
        };
        if self.max_subject_tokens > 0 && tokens(subject).count() > self.max_subject_tokens {
            return self.deny(Violation::TooManyTokens(subject), wakes);
        }
        if self.max_subscriptions > 0 && self.client.subscription_count() >= self.max_subscriptions {
            return self.refuse(ClientError::MaxSubscriptions, wakes);
        }
        if self.client.subscription(sid).is_none() {
            let sid = Bytes::copy_from_slice(sid);
            let queue = queue.map(Bytes::copy_from_slice);
            let subscription = Subscription::new(Arc::clone(&self.client), sid, filter, queue);
            subscription.withhold(withheld);
            login.account.router.subscribe(subscription);
        }
        self.confirm(wakes);
        Ok(())
    }

    pub(super) fn unsubscribe(&self, login: &Login, sid: &[u8], max: Option<u64>, wakes: &mut Wakes) {
        let is_over = match (max, self.client.subscription(sid)) {
            (Some(max), Some(subscription)) => subscription.limit(max),
            _ => true,
        };
        if is_over {
            login.account.router.unsubscribe(&self.client, sid);
        }
        self.confirm(wakes);
    }

    /// Users or permissions may have changed: is the client still who it was, and may it still hear what it hears?
    pub async fn recheck(&mut self, wakes: &mut Wakes) -> Result<(), ClientError> {
        let Some(before) = self.login.clone() else {
            return Ok(());
        };
        let login = if self.has_connected {
            self.log_in().await
        } else {
            self.gate.realm.borrow().nobody().cloned()
        };
        let login = login.filter(|login| Arc::ptr_eq(&login.account, &before.account));
        let login = login.ok_or(ClientError::Authorization)?;
        for subscription in self.client.subscriptions() {
            let queue = subscription.queue.as_deref();
            match login.permissions.subscribe(&subscription.filter, queue) {
                Some(withheld) => subscription.withhold(withheld),
                None => {
                    login.account.router.unsubscribe(&self.client, &subscription.sid);
                    let (subject, sid) = (subscription.filter.as_bytes(), subscription.sid.as_ref());
                    let revoked = Violation::Revoked { subject, sid };
                    self.tell(wakes, |out| write::violation(out, revoked));
                }
            }
        }
        login.account.router.invalidate();
        self.client.replies.follow(login.permissions.responses);
        self.routes = Some(Routes::new(Arc::clone(&login)));
        self.login = Some(login);
        Ok(())
    }
}
