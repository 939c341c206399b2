//! The ledger against a plain model of it: whatever is claimed, renewed, settled, begun, revived and forgotten, in whatever
//! order and at whatever time, both agree on who may do the work.

use std::sync::LazyLock;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::conformance::servers::Postgres;
use super::deliveries::{self, Ask, Claim, Effect, Lease, Settlement};
use super::{Beat, Claiming, Ending, Store, rehearsal};
use crate::key::Key;

static POSTGRES: LazyLock<Postgres> = LazyLock::new(Postgres::start);

const LEASE: i64 = 4_000;
const TTL: i64 = 60_000;
const KEYS: u8 = 2;

/// What can be done to one of a few keys.
#[derive(Debug, Clone)]
enum Step {
    Claim {
        key: u8,
        print: u8,
        by: u8,
    },
    /// By the holder of the claim that was granted so many claims ago, who may have lost it long since.
    Renew {
        key: u8,
        ago: u8,
    },
    /// The same one lives, and has given the work up.
    Survived {
        key: u8,
        ago: u8,
    },
    Begin {
        key: u8,
        ago: u8,
    },
    Settle {
        key: u8,
        ago: u8,
        how: How,
    },
    Revive {
        key: u8,
    },
    Purge,
    Wait {
        millis: i64,
    },
}

#[derive(Debug, Clone, Copy)]
enum How {
    Done,
    Dead,
    Discarded,
    Retry { after: i64, effect: Effect },
    Released { after: i64, effect: Effect },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Claimed,
    Effect,
    RetryAt,
    Unknown,
    Done,
    Discarded,
    Dead,
}

impl State {
    fn is_held(self) -> bool {
        matches!(self, State::Claimed | State::Effect)
    }

    fn is_settled(self) -> bool {
        matches!(self, State::Done | State::Discarded | State::Dead)
    }
}

#[derive(Debug, Clone)]
struct Row {
    state: State,
    fence: i64,
    owner: u8,
    print: u8,
    lease_until: i64,
    retry_at: i64,
    attempts: i64,
    crashes: i64,
    effect: bool,
    expires_at: i64,
}

/// What a claim came to, as far as the model tells.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Granted {
        fence: i64,
        attempts: i64,
        crashes: i64,
        effect: bool,
    },
    Done,
    Dead,
    Later(i64),
    KeyReused,
}

#[derive(Debug, Default)]
struct Model {
    now: i64,
    rows: [Option<Row>; KEYS as usize],
}

impl Model {
    fn claim(&mut self, key: u8, print: u8, by: u8) -> Told {
        let now = self.now;
        let slot = &mut self.rows[usize::from(key)];
        let fresh = Row {
            state: State::Claimed,
            fence: 1,
            owner: by,
            print,
            lease_until: now + LEASE,
            retry_at: 0,
            attempts: 1,
            crashes: 0,
            effect: false,
            expires_at: now + TTL,
        };
        let Some(row) = slot else {
            *slot = Some(fresh);
            return Told::Granted {
                fence: 1,
                attempts: 1,
                crashes: 0,
                effect: false,
            };
        };
        let same = row.print == print;
        let next = Row {
            fence: row.fence + 1,
            ..fresh
        };
        *row = match row.state {
            state if state.is_settled() && row.expires_at <= now => next,
            State::RetryAt | State::Unknown if same && row.retry_at <= now => Row {
                attempts: row.attempts + 1,
                crashes: row.crashes,
                effect: row.effect,
                ..next
            },
            State::Claimed | State::Effect if same && row.lease_until <= now => Row {
                attempts: row.attempts + 1,
                crashes: row.crashes + i64::from(row.owner != by),
                effect: row.effect,
                ..next
            },
            _ if !same => return Told::KeyReused,
            State::Done | State::Discarded => return Told::Done,
            State::Dead => return Told::Dead,
            State::RetryAt | State::Unknown => return Told::Later(row.retry_at - now),
            State::Claimed | State::Effect => return Told::Later(row.lease_until - now),
        };
        Told::Granted {
            fence: row.fence,
            attempts: row.attempts,
            crashes: row.crashes,
            effect: row.effect,
        }
    }

    /// The row, if `fence` still holds it.
    fn held(&mut self, key: u8, fence: i64) -> Option<&mut Row> {
        let row = self.rows[usize::from(key)].as_mut()?;
        (row.fence == fence && row.state.is_held()).then_some(row)
    }

    fn renew(&mut self, key: u8, fence: i64) -> bool {
        let until = self.now + LEASE;
        self.held(key, fence).map(|row| row.lease_until = until).is_some()
    }

    fn survived(&mut self, key: u8, fence: i64, by: u8) {
        let now = self.now;
        if let Some(row) = self.held(key, fence) {
            row.retry_at = now;
            row.state = match row.state {
                State::Effect => State::Unknown,
                _ => State::RetryAt,
            };
        } else if let Some(row) = self.rows[usize::from(key)].as_mut()
            && row.fence == fence + 1
            && row.owner != by
        {
            row.crashes = (row.crashes - 1).max(0);
        }
    }

    fn begin(&mut self, key: u8, fence: i64) -> bool {
        let begun = self.held(key, fence).map(|row| {
            row.state = State::Effect;
            row.effect = true;
        });
        begun.is_some()
    }

    fn settle(&mut self, key: u8, fence: i64, how: How) -> bool {
        let now = self.now;
        let Some(row) = self.held(key, fence) else {
            return false;
        };
        let put_back = |row: &mut Row, after: i64, effect: Effect| {
            row.retry_at = now + after;
            row.effect &= effect == Effect::Unknown;
            row.state = if effect == Effect::Unknown {
                State::Unknown
            } else {
                State::RetryAt
            };
        };
        match how {
            How::Done => (row.state, row.effect) = (State::Done, false),
            How::Discarded => (row.state, row.effect) = (State::Discarded, false),
            How::Dead => row.state = State::Dead,
            How::Retry { after, effect } => put_back(row, after, effect),
            How::Released { after, effect } => {
                put_back(row, after, effect);
                row.attempts -= 1;
            }
        }
        true
    }

    fn revive(&mut self, key: u8) {
        let now = self.now;
        if let Some(row) = self.rows[usize::from(key)]
            .as_mut()
            .filter(|row| row.state == State::Dead)
        {
            *row = Row {
                state: State::RetryAt,
                retry_at: now,
                fence: row.fence + 1,
                attempts: 0,
                crashes: 0,
                effect: false,
                ..row.clone()
            };
        }
    }

    fn purge(&mut self) -> u64 {
        let now = self.now;
        let mut purged = 0;
        for slot in &mut self.rows {
            if slot
                .as_ref()
                .is_some_and(|row| row.state.is_settled() && row.expires_at <= now)
            {
                *slot = None;
                purged += 1;
            }
        }
        purged
    }
}

/// The real ledger, and every lease that it has granted.
struct Real {
    /// One for each process.
    stores: [Store; 2],
    /// Sets this case's rows apart from those of the cases before it.
    case: u32,
    granted: [Vec<(Lease, u8)>; KEYS as usize],
}

impl Real {
    fn key(&self, key: u8) -> Key {
        Key::of(&[&self.case, &u32::from(key)])
    }

    fn store(&self) -> &Store {
        &self.stores[0]
    }

    fn lease(&self, key: u8, ago: u8) -> Option<Lease> {
        self.lease_and_owner(key, ago).map(|(lease, _)| lease)
    }

    fn lease_and_owner(&self, key: u8, ago: u8) -> Option<(Lease, u8)> {
        self.granted[usize::from(key)]
            .iter()
            .rev()
            .nth(usize::from(ago))
            .cloned()
    }

    async fn claim(&mut self, key: u8, print: u8, by: u8) -> Told {
        let ask = Ask {
            scope: "model".to_owned(),
            key: self.key(key),
            fingerprint: print.to_string(),
            lease: Duration::from_millis(LEASE.unsigned_abs()),
            ttl: Duration::from_millis(TTL.unsigned_abs()),
        };
        let claiming = Claiming {
            ask,
            aliases: &[],
            replay: None,
            opening: None,
        };
        let (claim, _since) = self.stores[usize::from(by)].claim(claiming).await.expect("claim");
        match claim.expect("no replay") {
            Claim::Granted(granted) => {
                let told = Told::Granted {
                    fence: granted.lease.fence,
                    attempts: granted.attempts,
                    crashes: granted.crashes,
                    effect: granted.unresolved_effect.is_some(),
                };
                self.granted[usize::from(key)].push((granted.lease, by));
                told
            }
            Claim::Done { .. } => Told::Done,
            Claim::Dead => Told::Dead,
            Claim::Later(wait) => Told::Later(i64::try_from(wait.as_millis()).expect("a short wait")),
            Claim::KeyReused => Told::KeyReused,
        }
    }

    async fn beat(&self, by: u8, held: Vec<Lease>, survived: Vec<Lease>) -> Vec<bool> {
        let beat = Beat {
            held,
            by: Duration::from_millis(LEASE.unsigned_abs()),
            survived,
            ..Beat::default()
        };
        self.stores[usize::from(by)].renew(beat).await.expect("renew")
    }

    async fn settle(&self, lease: &Lease, how: How) -> bool {
        let millis = |after: i64| Duration::from_millis(after.unsigned_abs());
        let settlement = match how {
            How::Done => Settlement::Done { result: None },
            How::Dead => Settlement::Dead,
            How::Discarded => Settlement::Discarded,
            How::Retry { after, effect } => Settlement::Retry {
                after: millis(after),
                history: Vec::new(),
                effect,
            },
            How::Released { after, effect } => Settlement::Released {
                after: millis(after),
                effect,
            },
        };
        let ending = Ending::new(lease, settlement);
        self.store().settle(ending).await.expect("settle")
    }
}

/// Does one step to both, and compares what they say.
async fn agree(real: &mut Real, model: &mut Model, step: Step) {
    match step {
        Step::Claim { key, print, by } => {
            assert_eq!(
                real.claim(key, print, by).await,
                model.claim(key, print, by),
                "claim"
            );
        }
        Step::Settle { key, ago, how } => {
            if let Some(lease) = real.lease(key, ago) {
                assert_eq!(
                    real.settle(&lease, how).await,
                    model.settle(key, lease.fence, how),
                    "settle"
                );
            }
        }
        Step::Wait { millis } => {
            rehearsal::advance(real.store(), millis)
                .await
                .expect("time passes");
            model.now += millis;
        }
        Step::Renew { key, ago } => {
            if let Some(lease) = real.lease(key, ago) {
                let fence = lease.fence;
                let renewed = real.beat(0, vec![lease], Vec::new()).await;
                assert_eq!(renewed, [model.renew(key, fence)], "renew");
            }
        }
        Step::Survived { key, ago } => {
            if let Some((lease, owner)) = real.lease_and_owner(key, ago) {
                model.survived(key, lease.fence, owner);
                assert_eq!(real.beat(owner, Vec::new(), vec![lease]).await, [false; 0]);
            }
        }
        Step::Begin { key, ago } => {
            if let Some(lease) = real.lease(key, ago) {
                let fence = lease.fence;
                let begun = real.store().begin_effect(lease, "effect".to_owned()).await;
                assert_eq!(
                    begun.expect("begin_effect"),
                    model.begin(key, fence),
                    "begin_effect"
                );
            }
        }
        Step::Revive { key } => {
            let mut tx = real.store().begin().await.expect("begin");
            deliveries::revive(&mut tx, "model", real.key(key).as_str())
                .await
                .expect("revive");
            tx.commit().await.expect("commit");
            model.revive(key);
        }
        Step::Purge => {
            let mut tx = real.store().begin().await.expect("begin");
            deliveries::purge(&mut tx).await.expect("purge");
            tx.commit().await.expect("commit");
            model.purge();
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let (key, ago) = (0..KEYS, 0..3_u8);
    let effect = || prop_oneof![Just(Effect::None), Just(Effect::Unknown)];
    // At, just before, and well after the ends of leases and retries.
    let after = || prop_oneof![Just(0_i64), Just(1), Just(LEASE)];
    let how = prop_oneof![
        Just(How::Done),
        Just(How::Dead),
        Just(How::Discarded),
        (after(), effect()).prop_map(|(after, effect)| How::Retry { after, effect }),
        (after(), effect()).prop_map(|(after, effect)| How::Released { after, effect }),
    ];
    prop_oneof![
        6 => (key.clone(), prop_oneof![9 => Just(0_u8), 1 => Just(1)], 0..2_u8)
            .prop_map(|(key, print, by)| Step::Claim { key, print, by }),
        2 => (key.clone(), ago.clone()).prop_map(|(key, ago)| Step::Renew { key, ago }),
        1 => (key.clone(), ago.clone()).prop_map(|(key, ago)| Step::Survived { key, ago }),
        1 => (key.clone(), ago.clone()).prop_map(|(key, ago)| Step::Begin { key, ago }),
        4 => (key.clone(), ago, how).prop_map(|(key, ago, how)| Step::Settle { key, ago, how }),
        1 => key.prop_map(|key| Step::Revive { key }),
        1 => Just(Step::Purge),
        4 => prop_oneof![Just(1_i64), Just(LEASE - 1), Just(LEASE), Just(TTL)].prop_map(|millis| Step::Wait { millis }),
    ]
}

fn check(url: &str, cases: u32) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let stores = runtime.block_on(async {
        let store = Store::open(url).await.expect("the database opens");
        rehearsal::prepare(&store).await.expect("the clock stops");
        [store, Store::open(url).await.expect("the database opens")]
    });
    let case = std::cell::Cell::new(0);
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let steps = prop::collection::vec(step(), 1..40);
    let outcome = TestRunner::new(config).run(&steps, |steps| {
        case.set(case.get() + 1);
        let mut real = Real {
            stores: stores.clone(),
            case: case.get(),
            granted: Default::default(),
        };
        let mut model = Model::default();
        runtime.block_on(async {
            for step in steps {
                agree(&mut real, &mut model, step).await;
            }
        });
        Ok(())
    });
    outcome.expect("the ledger and its model agree");
}

#[test]
fn sqlite_agrees_with_the_model() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    check(
        &format!("sqlite:{}", folder.path().join("ledger.db").display()),
        192,
    );
}

#[test]
fn postgres_agrees_with_the_model() {
    check(&POSTGRES.fresh_database(), 48);
}
