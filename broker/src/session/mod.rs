//! One client's side of the protocol: operations in, frames queued in outboxes. No sockets.

mod guesses;
mod keepalive;
mod notice;
mod permissions;
mod realm;
mod routes;
mod subscriptions;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

use crate::config::Limits;
use crate::jetstream::StreamHandle;
use crate::protocol::{ClientError, ClientOp, Connect, Info, Publish, Violation, headers, write};
use crate::router::{self, Client, Identity, Matches, Message, Wakes};
use crate::subject;

pub use guesses::Guesses;
use keepalive::{Due, Keepalive};
pub use notice::Notice;
use notice::is_for_the_server;
use realm::Shown;
pub use realm::{Account, Login, Realm};
use routes::Routes;

/// Replies on these would be taken for something else: acknowledgements, and answers between servers.
const RESERVED_REPLIES: [&[u8]; 4] = [b"$JS.ACK.", b"_R_.", b"_GR_.", b"$GR."];

/// What all sessions share: who is who, and whom they tell.
#[derive(Debug, Clone)]
pub struct Gate {
    pub realm: watch::Receiver<Arc<Realm>>,
    pub guesses: Arc<Guesses>,
    pub notices: mpsc::Sender<Notice>,
}

#[derive(Debug)]
pub struct Session {
    client: Arc<Client>,
    gate: Gate,
    info: Info,
    /// The names in the client's TLS certificate.
    certificate: Vec<String>,
    max_subscriptions: usize,
    max_subject_tokens: usize,
    connect: Connect,
    login: Option<Arc<Login>>,
    /// It has said CONNECT; until then it is nobody in particular.
    has_connected: bool,
    has_pinged: bool,
    keepalive: Keepalive,
    routes: Option<Routes>,
    /// A stream that has more waiting than it should, noted for [`Session::take_congested_stream`].
    congested_stream: Option<StreamHandle>,
}

impl Session {
    pub fn new(
        client: Arc<Client>,
        gate: Gate,
        info: Info,
        certificate: Vec<String>,
        limits: &Limits,
    ) -> Session {
        let login = gate.realm.borrow().nobody().cloned();
        let auth_timeout = login.is_none().then_some(limits.auth_timeout);
        Session {
            routes: login.clone().map(Routes::new),
            keepalive: Keepalive::new(
                Instant::now(),
                limits.ping_interval,
                limits.ping_max,
                auth_timeout,
            ),
            max_subscriptions: limits.max_subscriptions,
            max_subject_tokens: limits.max_subject_tokens,
            has_connected: false,
            has_pinged: false,
            connect: Connect::default(),
            congested_stream: None,
            client,
            gate,
            info,
            certificate,
            login,
        }
    }

    /// The first words on a connection.
    pub fn greet(&self, wakes: &mut Wakes) {
        self.tell(wakes, |out| write::info(out, &self.info));
    }

    pub fn is_authenticated(&self) -> bool {
        self.login.is_some()
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

    /// Ends every subscription. The last thing that happens in a session.
    pub fn leave(&self, reason: ClientError) {
        let Some(login) = &self.login else {
            return;
        };
        login.account.router.disconnect(&self.client);
        if self.has_connected {
            let (client, login) = (Arc::clone(&self.client), Arc::clone(login));
            self.notify(Notice::Disconnected {
                client,
                login,
                reason,
            });
        }
    }

    /// Carries out one operation that was parsed from `chunk`. An error ends the connection.
    ///
    /// CONNECT is not among them: see [`Session::connect`].
    pub fn apply(&mut self, op: &ClientOp<'_>, chunk: &Bytes, wakes: &mut Wakes) -> Result<(), ClientError> {
        let Some(login) = self.login.clone() else {
            return Err(ClientError::Authorization);
        };
        match *op {
            ClientOp::Pub(publish) => self.publish(&login, &publish, chunk, wakes),
            ClientOp::Sub { subject, queue, sid } => self.subscribe(&login, subject, queue, sid, wakes),
            ClientOp::Unsub { sid, max } => {
                self.unsubscribe(&login, sid, max, wakes);
                Ok(())
            }
            ClientOp::Ping => {
                self.pong(&login, wakes);
                Ok(())
            }
            ClientOp::Pong => {
                if let Some(took) = self.keepalive.on_pong(Instant::now()) {
                    self.client.activity.note_round_trip(took);
                }
                Ok(())
            }
            ClientOp::Connect(_) => Ok(()),
        }
    }

    /// Checks who the client is, which may take a while: passwords are hashed, and guesses are slowed.
    pub async fn connect(&mut self, json: &[u8], wakes: &mut Wakes) -> Result<(), ClientError> {
        self.connect.update(json)?;
        let address = self.client.address.ip();
        let user = self
            .connect
            .user
            .clone()
            .or_else(|| self.connect.nkey.clone())
            .unwrap_or_default();
        let must_log_in = self.gate.realm.borrow().is_auth_required();
        if must_log_in {
            sleep(self.gate.guesses.wait(address, &user, std::time::Instant::now())).await;
        }
        let Some(login) = self.log_in().await else {
            self.gate
                .guesses
                .failed(address, &user, std::time::Instant::now());
            tracing::warn!(cid = self.client.id.0, %address, "authentication error");
            return Err(ClientError::Authorization);
        };
        if must_log_in {
            self.gate.guesses.succeeded(address, &user);
        }
        self.enter(login);
        self.confirm(wakes);
        Ok(())
    }

    async fn log_in(&self) -> Option<Arc<Login>> {
        let realm = Arc::clone(&self.gate.realm.borrow());
        let shown = Shown {
            connect: &self.connect,
            nonce: self.info.nonce.as_deref(),
            certificate: &self.certificate,
        };
        realm.log_in(shown).await
    }

    fn enter(&mut self, login: Arc<Login>) {
        if let Some(before) = self
            .login
            .as_ref()
            .filter(|before| !Arc::ptr_eq(&before.account, &login.account))
        {
            before.account.router.disconnect(&self.client);
        }
        self.keepalive.on_authenticated();
        self.client.headers.store(self.connect.headers, Ordering::Relaxed);
        self.client.echo.store(self.connect.echo, Ordering::Relaxed);
        self.client
            .takes_infos
            .store(self.connect.protocol >= 1, Ordering::Relaxed);
        self.client.replies.follow(login.permissions.responses);
        self.client.identify(Identity {
            name: self.connect.name.clone(),
            lang: self.connect.lang.clone(),
            version: self.connect.version.clone(),
            user: login.user.clone(),
            account: login.account.name.clone(),
        });
        self.routes = Some(Routes::new(Arc::clone(&login)));
        if !std::mem::replace(&mut self.has_connected, true) {
            let (client, login) = (Arc::clone(&self.client), Arc::clone(&login));
            self.notify(Notice::Connected { client, login });
        }
        self.login = Some(login);
    }

    /// The first PING shows that CONNECT is through; a client of protocol 1 is then told who it is.
    fn pong(&mut self, login: &Login, wakes: &mut Wakes) {
        self.tell(wakes, |out| out.extend_from_slice(write::PONG));
        if self.has_connected && !std::mem::replace(&mut self.has_pinged, true) && self.connect.protocol >= 1
        {
            let info = self
                .info
                .after_first_ping(&login.account.name, login.account.is_system);
            self.tell(wakes, |out| write::info(out, &info));
        }
    }

    fn publish(
        &mut self,
        login: &Arc<Login>,
        given: &Publish<'_>,
        chunk: &Bytes,
        wakes: &mut Wakes,
    ) -> Result<(), ClientError> {
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

        // It is told of, and goes where such subjects go, as with nats-server.
        if self.connect.pedantic && !subject::is_literal(subject) {
            self.tell_error(ClientError::InvalidPublishSubject, wakes);
        }
        let Some(route) = self.routes.as_mut().map(|routes| routes.find(subject)) else {
            return Err(ClientError::Authorization);
        };
        if !route.may_publish && !self.client.replies.take(subject) {
            return self.deny(Violation::Publish(subject), wakes);
        }
        if RESERVED_REPLIES.iter().any(|prefix| reply.starts_with(prefix)) {
            return self.deny(Violation::Reply(reply), wakes);
        }
        let message = Message {
            subject,
            reply,
            header_len,
            body,
            backing: chunk,
        };
        let router = &login.account.router;
        let reached = router.deliver(&route.matches, &message, Some(&self.client), wakes);
        let mut taken = false;
        if let Some(jetstream) = &login.account.jetstream {
            let accepted = jetstream.offer(&route.ingress, &message);
            taken = accepted.is_taken;
            if accepted.congested.is_some() {
                self.congested_stream = accepted.congested;
            }
        }
        if is_for_the_server(subject, &login.account) {
            taken |= self.ask_the_server(login, &message);
        }
        self.confirm(wakes);
        if reached == 0 && !taken && !reply.is_empty() && self.connect.no_responders {
            self.tell_no_responders(login, subject, reply, wakes);
        }
        Ok(())
    }

    fn ask_the_server(&self, login: &Arc<Login>, message: &Message<'_>) -> bool {
        self.notify(Notice::Request {
            subject: Bytes::copy_from_slice(message.subject),
            reply: Bytes::copy_from_slice(message.reply),
            body: Bytes::copy_from_slice(&message.body[message.header_len..]),
            login: Arc::clone(login),
        })
    }

    /// Dropped when too many wait already: whoever floods the server with questions gets no answers.
    fn notify(&self, notice: Notice) -> bool {
        self.gate.notices.try_send(notice).is_ok()
    }

    /// Told on the publisher's own subscription to the reply subject, and only if it has one outside of queue groups.
    fn tell_no_responders(&self, login: &Login, subject: &[u8], reply: &[u8], wakes: &mut Wakes) {
        let mut listeners = Matches::default();
        login.account.router.collect(reply, &mut listeners);
        let Some(own) = listeners.plain_of(self.client.id) else {
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

    fn deny(&self, violation: Violation<'_>, wakes: &mut Wakes) -> Result<(), ClientError> {
        tracing::debug!(cid = self.client.id.0, "{}", violation.wire_text());
        self.tell(wakes, |out| write::violation(out, violation));
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
