//! What the broker did not do, said so that a person knows what to do.

/// What the broker did not do.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// The address can't be read.
    #[error(
        "NATS_URL is `{url}`, which is no broker address: {reason}; give `nats://host:4222`, or several with commas"
    )]
    Url {
        /// As given, without credentials.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody answers there.
    #[error("no broker answers at `{url}` ({reason}); start one there, or name another in NATS_URL")]
    Unreachable {
        /// As given, without credentials.
        url: String,
        /// What was tried.
        reason: String,
    },
    /// It answers and refuses us.
    #[error("the broker at `{url}` refuses the login ({reason}); put user and password into NATS_URL")]
    Refused {
        /// As given, without credentials.
        url: String,
        /// What it said.
        reason: String,
    },
    /// It answers, but keeps no streams.
    #[error(
        "the broker answers, but its JetStream does not ({reason}); start it with `-js` and a store directory"
    )]
    NoJetStream {
        /// What it said.
        reason: String,
    },
    /// A stream could not be made.
    #[error("stream {stream}: {reason}")]
    Stream {
        /// Its name.
        stream: String,
        /// What the broker said.
        reason: String,
    },
    /// A consumer could not be made, or can't be pulled from.
    #[error("consumer {consumer}: {reason}")]
    Consumer {
        /// Its name.
        consumer: String,
        /// What the broker said.
        reason: String,
    },
    /// No stream keeps this subject.
    #[error("no stream keeps `{subject}`")]
    NoStream {
        /// The subject.
        subject: String,
    },
    /// The broker refuses a message: it is too large for it, its stream is full, or the subject is none.
    #[error(
        "the broker takes no message on `{subject}`: {reason}; give its stream room, or raise the broker's max_payload; \
         it waits in the outbox and is offered again"
    )]
    NotTaken {
        /// The subject.
        subject: String,
        /// What it said.
        reason: String,
    },
    /// The broker did not confirm a message.
    #[error("the broker did not confirm a message on `{subject}`: {reason}")]
    NotConfirmed {
        /// The subject.
        subject: String,
        /// What it said, if anything.
        reason: String,
    },
}
