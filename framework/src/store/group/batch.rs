//! One transaction of the group: each kind of request by one statement, as far as it is frequent.

use tokio::time::Instant;

use super::request::{Claiming, Ending, Outgoing, Replayed, Reply, Request};
use crate::key::Key;
use crate::store::deliveries::{self, Claim};
use crate::store::{StoreError, Tx, dead_letters, openings, outbox};

/// Writes all of `requests`, of which no two are for one row; gives their replies in their order.
pub(super) async fn write(tx: &mut Tx, requests: &[Request]) -> Result<Vec<Reply>, StoreError> {
    let since = Instant::now();
    let mut replies: Vec<Option<Reply>> = requests.iter().map(|_| None).collect();
    let (mut claims, mut effects, mut endings) = (Vec::new(), Vec::new(), Vec::new());
    for (at, request) in requests.iter().enumerate() {
        match request {
            Request::Open(opening) => {
                replies[at] = Some(Reply::Opening(openings::begin(tx, opening).await?));
            }
            Request::Claim(claiming) if claiming.is_plain() => claims.push((at, &claiming.ask)),
            Request::Claim(_) => {}
            Request::BeginEffect(lease, effect) => effects.push((at, (lease, effect.as_str()))),
            Request::Settle(ending) => endings.push((at, ending.as_ref())),
            Request::Renew(beat) => {
                let (held, survived): (Vec<_>, Vec<_>) =
                    (beat.held.iter().collect(), beat.survived.iter().collect());
                replies[at] = Some(Reply::Renewed(deliveries::renew(tx, &held, beat.by).await?));
                deliveries::survived(tx, &survived).await?;
                openings::renew(tx, &beat.opening.iter().collect::<Vec<_>>()).await?;
                edge!(InsideRenewal?);
            }
            Request::Relayed(outgoing) => {
                relayed(tx, outgoing).await?;
                replies[at] = Some(Reply::Relayed);
            }
        }
    }
    let (places, effects): (Vec<_>, Vec<_>) = effects.into_iter().unzip();
    let begun = deliveries::begin_effect(tx, &effects).await?;
    if !begun.is_empty() {
        edge!(InsideEffectBegun?);
    }
    fill(&mut replies, places, begun.into_iter().map(Reply::Held));
    let (places, endings): (Vec<_>, Vec<_>) = endings.into_iter().unzip();
    let settled = settle(tx, &endings).await?;
    fill(&mut replies, places, settled.into_iter().map(Reply::Held));
    let (places, asks): (Vec<_>, Vec<_>) = claims.into_iter().unzip();
    let claimed = deliveries::claim(tx, &asks).await?;
    let claimed_some = !claimed.is_empty();
    fill(
        &mut replies,
        places,
        claimed
            .into_iter()
            .map(|claim| Reply::Claimed(Some(claim), since)),
    );
    let opened: Vec<_> = requests.iter().flat_map(Request::opened).collect();
    openings::end(tx, &opened).await?;
    if claimed_some {
        edge!(InsideClaim?);
    }
    for (at, request) in requests.iter().enumerate() {
        if let Request::Claim(claiming) = request
            && !claiming.is_plain()
        {
            replies[at] = Some(Reply::Claimed(claim_alone(tx, claiming).await?, since));
        }
    }
    replies
        .into_iter()
        .map(|reply| reply.ok_or(StoreError::Closed))
        .collect()
}

fn fill(replies: &mut [Option<Reply>], places: Vec<usize>, given: impl Iterator<Item = Reply>) {
    for (at, reply) in places.into_iter().zip(given) {
        replies[at] = Some(reply);
    }
}

/// Only of what still has its lease is anything written.
pub(super) async fn settle(tx: &mut Tx, endings: &[&Ending]) -> Result<Vec<bool>, StoreError> {
    let settlements: Vec<_> = endings
        .iter()
        .map(|ending| (&ending.lease, &ending.settlement))
        .collect();
    let held = deliveries::settle(tx, &settlements).await?;
    let endings: Vec<_> = endings
        .iter()
        .zip(&held)
        .filter(|(_, held)| **held)
        .map(|(ending, _)| *ending)
        .collect();
    let rows: Vec<_> = endings.iter().flat_map(|ending| &ending.outbox).collect();
    tx.push_all(&rows).await?;
    for ending in &endings {
        if let Some(letter) = &ending.replayed {
            dead_letters::replayed(tx, letter).await?;
        }
        if let Some(burial) = &ending.burial {
            tx.bury(burial).await?;
            edge!(InsideBurial?);
        }
    }
    if !endings.is_empty() {
        edge!(InsideSettle?);
    }
    Ok(held)
}

async fn relayed(tx: &mut Tx, outgoing: &Outgoing) -> Result<(), StoreError> {
    outbox::delete(tx, &outgoing.confirmed).await?;
    outbox::set_aside(tx, &outgoing.refused, outgoing.aside).await?;
    // A replay that the broker refuses is a dead letter again, since a person waits for it. One of a message that died
    // elsewhere is over as soon as the broker has it.
    for Replayed { letter, refusal } in &outgoing.replays {
        match refusal {
            Some(why) => dead_letters::replay_refused(tx, letter, why).await?,
            None => dead_letters::resent(tx, letter).await?,
        }
    }
    edge!(InsideForget?);
    Ok(())
}

/// Replays are rare and their keys are in their letters, rows of a former name are to be adopted; so each of these is
/// claimed by itself, after the others.
async fn claim_alone(tx: &mut Tx, claiming: &Claiming) -> Result<Option<Claim>, StoreError> {
    let mut ask = claiming.ask.clone();
    if let Some(letter) = &claiming.replay {
        match replayed_key(tx, letter, claiming).await? {
            Some(key) => ask.key = key,
            None => return Ok(None),
        }
    }
    for alias in claiming.aliases {
        deliveries::adopt(tx, &ask.scope, alias, &ask.key).await?;
    }
    let claim = deliveries::claim(tx, &[&ask]).await?.pop();
    if let (Some(letter), Some(claim)) = (&claiming.replay, &claim) {
        dead_letters::replay_ended_elsewhere(tx, letter, claim).await?;
    }
    edge!(InsideClaim?);
    Ok(claim)
}

/// The ledger key of the replay of `letter`, if it is meant for this handler, by whatever name.
async fn replayed_key(tx: &mut Tx, letter: &str, claiming: &Claiming) -> Result<Option<Key>, StoreError> {
    let scope = claiming.ask.scope.as_str();
    for name in std::iter::once(scope).chain(claiming.aliases.iter().copied()) {
        let Some(key) = dead_letters::replayed_key(tx, letter, name).await? else {
            continue;
        };
        let key = Key::stored(key);
        if name != scope {
            // It was revived under the name that it died under; by now its row may have this one.
            deliveries::adopt(tx, scope, name, &key).await?;
            deliveries::revive(tx, scope, key.as_str()).await?;
        }
        return Ok(Some(key));
    }
    Ok(None)
}
