//! One client's side of the protocol: operations in, frames queued in outboxes. No sockets.

mod auth;
mod keepalive;
mod routes;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::time::Instant;

use crate::config::{Auth, Limits};
use crate::jetstream::{JetStream, StreamHandle};
use crate::protocol::{ClientError, ClientOp, Connect, Info, Publish, headers, write};
use crate::router::{self, Client, Identity, Matches, Message, Router, Subscription, Wakes};
use crate::subject::Filter;

pub use auth::is_required as auth_is_required;
use keepalive::{Due, Keepalive};
use routes::Routes;

#[derive(Debug)]
pub struct Session {
    client: Arc<Client>,
    router: Router,
    jetstream: Option<JetStream>,
    info: Info,
    auth: Arc<Auth>,
    max_subscriptions: usize,
    connect: Connect,
    is_authenticated: bool,
    has_pinged: bool,
    keepalive: Keepalive,
    routes: Routes,
    /// A stream that has more waiting than it should, noted for [`Session::take_congested_stream`].
    congested_stream: Option<StreamHandle>,
}

impl Session {
    pub fn new(
        client: Arc<Client>,
        router: Router,
        jetstream: Option<JetStream>,
        info: Info,
        auth: Arc<Auth>,
        limits: &Limits,
    ) -> Session {
        let auth_timeout = auth::is_required(&auth).then_some(limits.auth_timeout);
        Session {
            routes: Routes::new(router.clone(), jetstream.clone()),
            keepalive: Keepalive::new(
                Instant::now(),
                limits.ping_interval,
                limits.ping_max,
                auth_timeout,
            ),
            max_subscriptions: limits.max_subscriptions,
            is_authenticated: auth_timeout.is_none(),
            has_pinged: false,
            connect: Connect::default(),
            congested_stream: None,
            client,
            router,
            jetstream,
            info,
            auth,
        }
    }

    /// The first words on a connection.
    pub fn greet(&self, wakes: &mut Wakes) {
        self.tell(wakes, |out| write::info(out, &self.info));
    }

    pub fn is_authenticated(&self) -> bool {
        self.is_authenticated
    }

    pub fn take_congested_stream(&mut self) -> Option<StreamHandle> {
        self.congested_stream.take()
    }

    pub fn wake_at(&self) -> Instant {
        self.keepalive.wake_at()
    }

    pub fn on_timer(&mut self, now: Instant, wakes: &mut Wakes) -> Result<(), ClientError> {
        if self.keepalive.on_timer(now)? == Due::Ping {
            self.tell(wakes, |out| out.extend_from_slice(write::PING));
        }
        Ok(())
    }

    /// Carries out one operation that was parsed from `chunk`. An error ends the connection.
    pub fn apply(&mut self, op: &ClientOp<'_>, chunk: &Bytes, wakes: &mut Wakes) -> Result<(), ClientError> {
        if !self.is_authenticated && !matches!(op, ClientOp::Connect(_)) {
            return Err(ClientError::Authorization);
        }
        match *op {
            ClientOp::Pub(publish) => self.publish(&publish, chunk, wakes),
            ClientOp::Sub { subject, queue, sid } => self.subscribe(subject, queue, sid, wakes),
            ClientOp::Unsub { sid, max } => {
                self.unsubscribe(sid, max, wakes);
                Ok(())
            }
            ClientOp::Ping => {
                self.pong(wakes);
                Ok(())
            }
            ClientOp::Pong => {
                self.keepalive.on_pong();
                Ok(())
            }
            ClientOp::Connect(json) => self.connect(json, wakes),
        }
    }

    fn connect(&mut self, json: &[u8], wakes: &mut Wakes) -> Result<(), ClientError> {
        self.connect.update(json)?;
        if !auth::accepts(&self.auth, &self.connect) {
            return Err(ClientError::Authorization);
        }
        self.is_authenticated = true;
        self.keepalive.on_authenticated();
        self.client.headers.store(self.connect.headers, Ordering::Relaxed);
        self.client.echo.store(self.connect.echo, Ordering::Relaxed);
        self.client.identify(Identity {
            name: self.connect.name.clone(),
            lang: self.connect.lang.clone(),
            version: self.connect.version.clone(),
        });
        self.confirm(wakes);
        Ok(())
    }

    /// The first PING shows that CONNECT is through; a client of protocol 1 is then told who it is.
    fn pong(&mut self, wakes: &mut Wakes) {
        self.tell(wakes, |out| out.extend_from_slice(write::PONG));
        if !std::mem::replace(&mut self.has_pinged, true) && self.connect.protocol >= 1 {
            let info = self.info.after_first_ping();
            self.tell(wakes, |out| write::info(out, &info));
        }
    }

    fn subscribe(
        &mut self,
        subject: &[u8],
        queue: Option<&[u8]>,
        sid: &[u8],
        wakes: &mut Wakes,
    ) -> Result<(), ClientError> {
        let Some(filter) = Filter::parse(subject) else {
            return self.refuse(ClientError::InvalidSubject, wakes);
        };
        // A sid in use keeps its first subscription; nats-server ignores the second one.
        if self.client.subscription(sid).is_none() {
            if self.max_subscriptions > 0 && self.client.subscription_count() >= self.max_subscriptions {
                return self.refuse(ClientError::MaxSubscriptions, wakes);
            }
            let sid = Bytes::copy_from_slice(sid);
            let queue = queue.map(Bytes::copy_from_slice);
            self.router
                .subscribe(Subscription::new(Arc::clone(&self.client), sid, filter, queue));
        }
        self.confirm(wakes);
        Ok(())
    }

    fn unsubscribe(&mut self, sid: &[u8], max: Option<u64>, wakes: &mut Wakes) {
        let is_over = match (max, self.client.subscription(sid)) {
            (Some(max), Some(subscription)) => subscription.limit(max),
            _ => true,
        };
        if is_over {
            self.router.unsubscribe(&self.client, sid);
        }
        self.confirm(wakes);
    }

    fn publish(&mut self, given: &Publish<'_>, chunk: &Bytes, wakes: &mut Wakes) -> Result<(), ClientError> {
        if given.is_hpub && !self.connect.headers {
            return Err(ClientError::Malformed);
        }
        let Publish {
            subject,
            reply,
            header_len,
            body,
            ..
        } = *given;
        let traffic = &self.client.traffic;
        traffic.in_msgs.fetch_add(1, Ordering::Relaxed);
        traffic.in_bytes.fetch_add(body.len() as u64, Ordering::Relaxed);

        let route = self.routes.find(subject);
        if !route.is_literal && self.connect.pedantic {
            return self.refuse(ClientError::InvalidPublishSubject, wakes);
        }
        let message = Message {
            subject,
            reply,
            header_len,
            body,
            backing: chunk,
        };
        let reached = self
            .router
            .deliver(&route.matches, &message, Some(&self.client), wakes);
        let mut taken = false;
        if let Some(jetstream) = &self.jetstream {
            let accepted = jetstream.offer(&route.ingress, &message);
            taken = accepted.is_taken;
            if accepted.congested.is_some() {
                self.congested_stream = accepted.congested;
            }
        }
        self.confirm(wakes);
        if reached == 0 && !taken && !reply.is_empty() && self.connect.no_responders {
            self.tell_no_responders(subject, reply, wakes);
        }
        Ok(())
    }

    /// Told on the publisher's own subscription to the reply subject, and only if it has one.
    fn tell_no_responders(&self, subject: &[u8], reply: &[u8], wakes: &mut Wakes) {
        let mut listeners = Matches::default();
        self.router.collect(reply, &mut listeners);
        let Some(own) = listeners.of_client(self.client.id) else {
            return;
        };
        let status = Bytes::from(headers::no_responders(subject));
        let message = Message {
            subject: reply,
            reply: b"",
            header_len: status.len(),
            body: &status,
            backing: &status,
        };
        wakes.note(&self.client, router::send(&self.client, &own.sid, &message));
    }

    /// An error that the connection survives.
    fn refuse(&self, error: ClientError, wakes: &mut Wakes) -> Result<(), ClientError> {
        self.tell_error(error, wakes);
        Ok(())
    }

    fn confirm(&self, wakes: &mut Wakes) {
        if self.connect.verbose {
            self.tell(wakes, |out| out.extend_from_slice(write::OK));
        }
    }

    /// The last words on a connection.
    pub fn tell_error(&self, error: ClientError, wakes: &mut Wakes) {
        self.tell(wakes, |out| write::error(out, error));
    }

    fn tell(&self, wakes: &mut Wakes, line: impl FnOnce(&mut bytes::BytesMut)) {
        let queued = self.client.outbox.queue_line(line);
        wakes.note(&self.client, queued);
    }
}
