//! The store as a whole: against a model, cut off at every byte, with every bit flipped.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use tempfile::TempDir;

use super::accounting::Accounting;
use super::folder::{self, Folder, OsFolder};
use super::{Recovery, Seq, StoreError, StreamStore};

fn try_open(directory: &Path) -> Result<(StreamStore, Recovery), StoreError> {
    let folder = Arc::new(OsFolder::new(directory));
    StreamStore::open(folder, Accounting::File, &mut |_, _| {})
}

fn open(directory: &Path) -> (StreamStore, Recovery) {
    try_open(directory).unwrap()
}

/// What a reader can get at, and the last sequence given.
fn contents(store: &mut StreamStore) -> (BTreeMap<Seq, Vec<u8>>, Seq) {
    let mut found = BTreeMap::new();
    let mut next = 0;
    while let Some(seq) = store.index().next(next).map(|entry| entry.seq) {
        let loaded = store.load(seq).unwrap().unwrap();
        found.insert(seq, [&loaded.subject[..], b"|", &loaded.body[..]].concat());
        next = seq + 1;
    }
    (found, store.index().last_seq())
}

fn publish(store: &mut StreamStore, subject: &str, payload: &str) -> Seq {
    let headers = if payload.len().is_multiple_of(2) {
        b"NATS/1.0\r\n\r\n".as_slice()
    } else {
        b""
    };
    let seq = store
        .append_message(7, subject.as_bytes(), headers, payload.as_bytes())
        .unwrap();
    store.sync().unwrap();
    seq
}

fn segment(directory: &Path) -> PathBuf {
    let folder = OsFolder::new(directory);
    let newest = *folder::list_segments(&folder).unwrap().last().unwrap();
    folder.path(&folder::segment_name(newest))
}

/// A store with a few small messages in one segment, and the lengths its file had after each.
fn sample(directory: &Path, messages: u32) -> Vec<usize> {
    let (mut store, _) = open(directory);
    let length = || usize::try_from(fs::metadata(segment(directory)).unwrap().len()).unwrap();
    let mut lengths = vec![length()];
    for n in 0..messages {
        publish(&mut store, "a.b", &format!("payload {n}"));
        lengths.push(length());
    }
    lengths
}

#[test]
fn cut_at_every_byte_of_the_last_two_records() {
    let source = TempDir::new().unwrap();
    let lengths = sample(source.path(), 5);
    let whole = fs::read(segment(source.path())).unwrap();
    for cut in lengths[3]..lengths[5] {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join(folder::segment_name(1));
        fs::write(&path, &whole[..cut]).unwrap();
        let (mut store, recovery) = open(directory.path());
        let kept = lengths.iter().filter(|&&length| length <= cut).count() - 1;
        let (found, last_seq) = contents(&mut store);
        assert_eq!((found.len(), last_seq), (kept, kept as Seq), "cut {cut}");
        let torn = recovery.torn.map(|(position, bytes)| (position.offset, bytes));
        let expect = (cut > lengths[kept]).then(|| (lengths[kept] as u64, (cut - lengths[kept]) as u64));
        assert_eq!((torn, recovery.damage), (expect, vec![]), "cut {cut}");
        // It goes on from there, and reopening finds nothing left to mend.
        assert_eq!(publish(&mut store, "a.b", "after"), kept as Seq + 1);
        drop(store);
        let (mut store, recovery) = open(directory.path());
        assert!(recovery.torn.is_none() && recovery.damage.is_empty());
        assert_eq!(contents(&mut store).0.len(), kept + 1);
    }
}

#[test]
fn every_bit_flip_is_reported_and_costs_one_message_at_most() {
    let source = TempDir::new().unwrap();
    let lengths = sample(source.path(), 4);
    let whole = fs::read(segment(source.path())).unwrap();
    for bit in 0..whole.len() * 8 {
        let directory = TempDir::new().unwrap();
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(directory.path().join(folder::segment_name(1)), &flipped).unwrap();
        let (mut store, recovery) = open(directory.path());
        assert_eq!((recovery.damage.len(), recovery.torn), (1, None), "bit {bit}");
        let damage = &recovery.damage[0];
        let hit = lengths.iter().filter(|&&length| length <= bit / 8).count() as Seq;
        let (found, last_seq) = contents(&mut store);
        let expect: Vec<Seq> = (1..=4).filter(|&seq| seq != hit).collect();
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), expect, "bit {bit}");
        assert!(
            last_seq >= 4,
            "bit {bit}: sequence {} would be given twice",
            last_seq + 1
        );
        if hit > 0 {
            let start = lengths[usize::try_from(hit).unwrap() - 1] as u64;
            assert_eq!(damage.offset, start, "bit {bit}");
            assert!(damage.lost[0].contains(&hit), "bit {bit}: {damage:?}");
        }
        // Each sync costs time, and going on works alike wherever in a byte the flip was.
        if bit % 8 != 5 {
            continue;
        }
        // What is new comes after all that was ever given, and survives with the damage still there.
        let new = publish(&mut store, "a.b", "after");
        assert_eq!(new, last_seq + 1);
        drop(store);
        let (mut store, again) = open(directory.path());
        assert_eq!(
            (again.damage.len(), contents(&mut store).0.len()),
            (1, expect.len() + 1),
            "bit {bit}"
        );
    }
}

#[test]
fn damage_that_appears_while_running_is_found_on_reading() {
    let directory = TempDir::new().unwrap();
    let lengths = sample(directory.path(), 3);
    let (mut store, _) = open(directory.path());
    let mut bytes = fs::read(segment(directory.path())).unwrap();
    bytes[lengths[1] + 30] ^= 1;
    fs::write(segment(directory.path()), &bytes).unwrap();
    assert!(matches!(store.load(2), Err(StoreError::Damaged { seq: 2, .. })));
    assert!(store.load(1).unwrap().is_some() && store.load(3).unwrap().is_some());
    assert_eq!(store.damage()[0].lost, [2..=2]);
}

/// Nobody reads the damaged message; the scrub comes upon it while the log is written to.
#[test]
fn the_scrub_names_what_a_flipped_bit_in_a_live_log_takes() {
    let directory = TempDir::new().unwrap();
    let (mut store, _) = open(directory.path());
    let mut at = BTreeMap::new();
    while store.active_segment() < 4 {
        let seq = publish(&mut store, "a.b", &"x".repeat(100));
        at.insert(seq, store.index().get(seq).unwrap().position());
        if store.is_roll_due() {
            store.roll(&[]).unwrap();
        }
    }
    let hit = *at.iter().find(|(_, at)| at.segment == 2).unwrap().0 + 3;
    let path = directory.path().join(folder::segment_name(2));
    // In the envelope, in the subject, in the payload.
    for place in [2, 50, 120] {
        let start = usize::try_from(at[&hit].offset).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        bytes[start + place] ^= 4;
        fs::write(&path, &bytes).unwrap();
        let mut found = Vec::new();
        publish(&mut store, "a.b", "meanwhile");
        while store.scrub(&mut found).unwrap() {}
        let [damage] = &found[..] else {
            panic!("byte {place}: {found:?}");
        };
        assert_eq!((damage.segment, damage.offset), (2, start as u64), "byte {place}");
        assert_eq!(damage.lost, [hit..=hit], "byte {place}");
        let others = at.keys().filter(|&&seq| seq != hit);
        others.for_each(|&seq| assert!(store.load(seq).unwrap().is_some(), "{seq}"));
        // Mended by hand, for the next one.
        bytes[start + place] ^= 4;
        fs::write(&path, &bytes).unwrap();
        drop(store);
        store = open(directory.path()).0;
    }
}

#[test]
fn a_newer_format_is_refused() {
    let directory = TempDir::new().unwrap();
    sample(directory.path(), 1);
    let path = segment(directory.path());
    let mut bytes = fs::read(&path).unwrap();
    bytes[8] = 9;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..40]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, &bytes).unwrap();
    let error = try_open(directory.path()).unwrap_err();
    assert!(
        matches!(error, StoreError::NewerFormat { found: 9, .. }),
        "{error}"
    );
}

#[derive(Debug, Clone)]
enum Step {
    Publish { subject: u8, len: usize },
    Remove(usize),
    Trim(usize),
    Roll,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0u8..4, 0usize..300).prop_map(|(subject, len)| Step::Publish { subject, len }),
        2 => (0usize..100).prop_map(Step::Remove),
        1 => (0usize..100).prop_map(Step::Trim),
        1 => Just(Step::Roll),
        1 => Just(Step::Reopen),
    ]
}

/// What the store should hold.
#[derive(Default)]
struct Model {
    messages: BTreeMap<Seq, Vec<u8>>,
    last_seq: Seq,
}

impl Model {
    fn pick(&self, at: usize) -> Option<Seq> {
        let count = self.messages.len().max(1);
        self.messages.keys().nth(at % count).copied()
    }

    fn take(&mut self, step: &Step, store: &mut StreamStore) {
        match step {
            Step::Publish { subject, len } => {
                let (subject, payload) = (format!("s.{subject}"), "x".repeat(*len));
                self.last_seq = publish(store, &subject, &payload);
                let headers = if len.is_multiple_of(2) {
                    "NATS/1.0\r\n\r\n"
                } else {
                    ""
                };
                self.messages.insert(
                    self.last_seq,
                    format!("{subject}|{headers}{payload}").into_bytes(),
                );
            }
            Step::Remove(at) => {
                if let Some(seq) = self.pick(*at) {
                    assert_eq!(store.remove(&[seq], |_, _| {}).unwrap(), 1);
                    self.messages.remove(&seq);
                }
            }
            Step::Trim(at) => {
                if let Some(seq) = self.pick(*at) {
                    store.trim(seq, |_, _| {}).unwrap();
                    self.messages.retain(|&other, _| other >= seq);
                }
            }
            Step::Roll | Step::Reopen => {}
        }
        store.sync().unwrap();
        if store.is_roll_due() || matches!(step, Step::Roll) {
            store.roll(&[]).unwrap();
        }
        if let Some(keep_from) = store.first_needed_segment() {
            store.reclaim(keep_from).unwrap();
        }
        if let Some(run) = store.worth_compacting() {
            store.compact(&run).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn agrees_with_a_model_through_every_reopening(steps in proptest::collection::vec(step(), 1..60)) {
        let directory = TempDir::new().unwrap();
        let (mut store, _) = open(directory.path());
        let mut model = Model::default();
        for step in &steps {
            model.take(step, &mut store);
            if matches!(step, Step::Reopen) {
                drop(store);
                let (reopened, recovery) = open(directory.path());
                prop_assert!(recovery.torn.is_none() && recovery.damage.is_empty(), "{recovery:?}");
                store = reopened;
            }
            let (messages, last_seq) = contents(&mut store);
            prop_assert_eq!(&messages, &model.messages);
            prop_assert_eq!(last_seq, model.last_seq);
            prop_assert_eq!(store.index().messages(), messages.len() as u64);
            let subjects: std::collections::BTreeSet<_> =
                messages.values().map(|message| message.split(|b| *b == b'|').next().unwrap()).collect();
            prop_assert_eq!(store.index().num_subjects(), subjects.len());
        }
    }
}
