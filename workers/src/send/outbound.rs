//! The way out of an account.

use serde::{Deserialize, Serialize};

use super::pace::{Pace, WarmUp};
use super::sent_folder::{KeptBy, SentFolder};
use super::smtp::Deadlines;
use crate::gate::Gate;
use crate::login::Login;
use crate::tls::{Dialer, Endpoint};

/// What to do when a relay may or may not have taken a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnUnknown {
    /// Send the same bytes with the same Message-ID again, and say so in `emails.sent`.
    #[default]
    Resend,
    /// Leave it to a person: dead letter.
    Hold,
}

/// How an account's mail goes out.
#[derive(Debug, Clone)]
pub struct Outbound {
    pub endpoint: Endpoint,
    pub dialer: Dialer,
    pub login: Option<Login>,
    pub gate: Gate,
    /// The name given in EHLO.
    pub hello: String,
    pub on_unknown: OnUnknown,
    /// Where what was sent is kept.
    pub sent: Option<SentFolder>,
    pub pace: Option<Pace>,
    pub warm_up: Option<WarmUp>,
    pub deadlines: Deadlines,
}

impl Outbound {
    /// The folder that says whether a mail went out.
    pub(super) fn proof(&self) -> Option<&SentFolder> {
        self.sent.as_ref().filter(|sent| sent.kept_by == KeptBy::Provider)
    }

    /// A copy of each mail is filed once it is sent.
    pub(super) fn files_copies(&self) -> bool {
        self.sent
            .as_ref()
            .is_some_and(|sent| sent.kept_by == KeptBy::Postroom)
    }
}
