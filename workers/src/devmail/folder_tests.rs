//! A folder is what its directory says, also after a reopen and after a kill between two steps.

use super::*;

fn uid(number: u32) -> Uid {
    Uid(NonZeroU32::new(number).unwrap())
}

fn open(dir: &Path) -> Folder {
    Folder::open(dir, NonZeroU32::new(77).unwrap()).unwrap()
}

fn mail(text: &str, flags: &[&str]) -> NewMessage {
    NewMessage {
        source: Source::Bytes(text.as_bytes().to_vec()),
        received: 1_763_884_800,
        flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
    }
}

#[test]
fn everything_survives_a_reopen() {
    let dir = tempfile::tempdir().unwrap();
    let mut folder = open(dir.path());
    assert_eq!(
        folder
            .append(vec![mail("a", &[]), mail("bb", &["\\Seen", "$Junk"])])
            .unwrap(),
        [uid(1), uid(2)]
    );
    folder
        .set_flags(vec![(uid(1), ["\\Answered".to_owned()].into())])
        .unwrap();

    let again = open(dir.path());
    assert_eq!(again.uid_validity().get(), 77);
    assert_eq!(again.uid_next(), uid(3));
    assert_eq!(again.messages(), folder.messages());
    assert_eq!(again.raw(uid(2)).unwrap().unwrap(), b"bb");
    assert_eq!(again.messages()[&uid(2)].size, 2);
    assert_eq!(again.keywords(), ["$Junk"]);
}

#[test]
fn a_uid_is_never_given_twice() {
    let dir = tempfile::tempdir().unwrap();
    let mut folder = open(dir.path());
    folder.append(vec![mail("a", &[]), mail("b", &[])]).unwrap();
    folder.remove(&[uid(2), uid(1)]).unwrap();

    let mut again = open(dir.path());
    assert!(again.messages().is_empty());
    assert_eq!(again.append(vec![mail("c", &[])]).unwrap(), [uid(3)]);
}

#[test]
fn a_kill_between_floor_and_unlink_keeps_the_message() {
    let dir = tempfile::tempdir().unwrap();
    let mut folder = open(dir.path());
    folder.append(vec![mail("a", &[])]).unwrap();
    disk::replace_file(dir.path(), "uidnext", b"2\n").unwrap();

    let again = open(dir.path());
    assert_eq!(again.messages().len(), 1);
    assert_eq!(again.uid_next(), uid(2));
}

#[test]
fn a_new_uidvalidity_counts_from_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut folder = open(dir.path());
    folder
        .append(vec![mail("a", &[]), mail("b", &["\\Seen"]), mail("c", &[])])
        .unwrap();
    folder.remove(&[uid(1)]).unwrap();
    folder.change_uid_validity(NonZeroU32::new(78).unwrap()).unwrap();

    let again = open(dir.path());
    assert_eq!(again.uid_validity().get(), 78);
    assert_eq!(again.uid_next(), uid(3));
    assert_eq!(again.raw(uid(1)).unwrap().unwrap(), b"b");
    assert_eq!(again.messages()[&uid(1)].flags, ["\\Seen".to_owned()].into());
}

#[test]
fn a_linked_message_outlives_its_source() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mut from, mut to) = (open(first.path()), open(second.path()));
    from.append(vec![mail("a", &[])]).unwrap();
    let source = Source::File(from.path(uid(1)).unwrap());
    to.append(vec![NewMessage {
        source,
        received: 5,
        flags: Flags::new(),
    }])
    .unwrap();
    from.remove(&[uid(1)]).unwrap();
    assert_eq!(to.raw(uid(1)).unwrap().unwrap(), b"a");
    assert_eq!(from.raw(uid(1)).unwrap(), None);
}

#[test]
fn keywords_have_an_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut folder = open(dir.path());
    let names: Vec<String> = (0..=MAX_KEYWORDS).map(|n| format!("k{n:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let error = folder.append(vec![mail("a", &names)]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a folder keeps 26 keywords, \"k26\" would be one more"
    );
    assert!(folder.messages().is_empty());
}

#[test]
fn damage_is_named() {
    for (name, text, expect) in [
        ("uidvalidity", "0\n", "expected a number between 1 and 4294967295"),
        ("12.eml", "x", "expected a name like"),
        ("0000000012-5-Q.eml", "x", "expected a name like"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(name), text).unwrap();
        let error = Folder::open(dir.path(), NonZeroU32::MIN).unwrap_err().to_string();
        assert!(error.contains(expect) && error.contains(name), "{error}");
    }
}
