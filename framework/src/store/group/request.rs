//! What can be asked of the group commit, and what it answers.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::store::StoreError;
use crate::store::dead_letters::Burial;
use crate::store::deliveries::{Ask, Claim, Lease, Settlement};
use crate::store::openings::Opening;
use crate::store::outbox::OutboxRow;

/// A piece of work to be claimed.
#[derive(Debug)]
pub(crate) struct Claiming {
    pub(crate) ask: Ask,
    /// Former names of the handler, under which the row may still be.
    pub(crate) aliases: &'static [&'static str],
    /// The letter that it is a replay of; the key is the letter's then.
    pub(crate) replay: Option<String>,
    /// It has been opened, and is noted as being opened no more.
    pub(crate) opening: Option<Opening>,
}

/// How a delivery ended, and everything that is to be true if it still has its lease.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) lease: Lease,
    pub(crate) settlement: Settlement,
    pub(crate) outbox: Vec<OutboxRow>,
    /// The letter that it was a replay of, if that is over now.
    pub(crate) replayed: Option<String>,
    /// The letter that it becomes.
    pub(crate) burial: Option<Burial>,
}

impl Ending {
    pub(crate) fn new(lease: &Lease, settlement: Settlement) -> Self {
        Self {
            lease: lease.clone(),
            settlement,
            outbox: Vec::new(),
            replayed: None,
            burial: None,
        }
    }

    /// Whether it publishes in order.
    pub(crate) fn is_in_order(&self) -> bool {
        self.outbox.iter().any(|row| row.ordered_by.is_some())
    }
}

/// What became of outbox rows, by their ids.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    /// The broker has them, or never will and nobody is to offer them again.
    pub(crate) confirmed: Vec<String>,
    /// It refuses them.
    pub(crate) refused: Vec<String>,
    /// They are offered again after this.
    pub(crate) aside: Duration,
    /// Letters whose replays they were.
    pub(crate) replays: Vec<Replayed>,
}

/// What the broker said to the replay of a letter.
#[derive(Debug)]
pub(crate) struct Replayed {
    pub(crate) letter: String,
    /// Why it never takes it; `None` where it has it.
    pub(crate) refusal: Option<String>,
}

impl Replayed {
    pub(crate) fn arrived(letter: &str) -> Self {
        Self {
            letter: letter.to_owned(),
            refusal: None,
        }
    }

    pub(crate) fn refused(letter: &str, why: &str) -> Self {
        Self {
            letter: letter.to_owned(),
            refusal: Some(why.to_owned()),
        }
    }
}

/// What a heartbeat has to say of the deliveries of this process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Beat {
    /// In flight: their leases are prolonged.
    pub(crate) held: Vec<Lease>,
    /// By this much.
    pub(crate) by: Duration,
    /// Ended without a word in the ledger.
    pub(crate) survived: Vec<Lease>,
    /// Being opened, or open and not claimed.
    pub(crate) opening: Vec<Opening>,
    /// Open, and left to the next delivery without having been claimed.
    pub(crate) opened: Vec<Opening>,
}

impl Beat {
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty() && self.survived.is_empty() && self.opening.is_empty() && self.opened.is_empty()
    }
}

/// Everything that is written in groups.
#[derive(Debug)]
pub(super) enum Request {
    Open(Opening),
    Claim(Claiming),
    BeginEffect(Lease, String),
    Settle(Box<Ending>),
    Renew(Beat),
    Relayed(Outgoing),
}

#[derive(Debug)]
pub(super) enum Reply {
    /// So many processes have died of opening it; `None` while another one is at it.
    Opening(Option<i64>),
    Claimed(Option<Claim>, Instant),
    Held(bool),
    Renewed(Vec<bool>),
    Relayed,
}

#[derive(Debug)]
pub(super) struct Pending {
    pub(super) request: Request,
    pub(super) answer: oneshot::Sender<Result<Reply, StoreError>>,
}

impl Pending {
    /// A claim that nobody waits for any more would only keep others from the work.
    pub(super) fn is_abandoned(&self) -> bool {
        matches!(self.request, Request::Claim(_)) && self.answer.is_closed()
    }
}

impl Claiming {
    /// It is claimed by a single statement, and so together with others.
    pub(super) fn is_plain(&self) -> bool {
        self.replay.is_none() && self.aliases.is_empty()
    }
}

impl Request {
    /// The ledger row that it is for, if it is for one. Renewals are of many, and agree with everything.
    pub(super) fn row(&self) -> Option<(String, String)> {
        let row = |lease: &Lease| (lease.scope.clone(), lease.key.as_str().to_owned());
        match self {
            // No handler's key, since it says so; of one that opens it twice at once, the second one waits.
            Self::Open(opening) => Some((opening.handler.clone(), format!("!open/{}", opening.place))),
            Self::Claim(Claiming { ask, .. }) => Some((ask.scope.clone(), ask.key.as_str().to_owned())),
            Self::BeginEffect(lease, _) => Some(row(lease)),
            Self::Settle(ending) => Some(row(&ending.lease)),
            Self::Renew(_) | Self::Relayed(_) => None,
        }
    }

    /// What has been opened by now.
    pub(super) fn opened(&self) -> &[Opening] {
        match self {
            Self::Claim(claiming) => claiming.opening.as_slice(),
            Self::Renew(beat) => &beat.opened,
            _ => &[],
        }
    }

    /// What it carries of messages.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Settle(ending) => {
                let rows = ending.outbox.iter().map(|row| row.payload.len()).sum::<usize>();
                rows + ending
                    .burial
                    .as_ref()
                    .map_or(0, |burial| burial.letter.payload.len() + burial.row.payload.len())
            }
            _ => 0,
        }
    }
}
