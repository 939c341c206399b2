//! The differences that docs/protocol.md accepts, and whether they are those that there are.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/protocol.md");

pub(crate) struct Accepted {
    /// By name; the value tells whether the two did differ.
    lines: BTreeMap<String, bool>,
    unexplained: Vec<String>,
}

impl Accepted {
    /// The rows ``| kind `name` | nats-server | here | reason |``, none of whose cells may be empty.
    pub(crate) fn read(kind: &str) -> Accepted {
        let text = fs::read_to_string(TABLE).unwrap();
        let start = format!("| {kind} `");
        let rows = text.lines().filter_map(|line| line.strip_prefix(&start));
        let lines = rows.map(|row| {
            let cells: Vec<&str> = row
                .split(" | ")
                .map(|cell| cell.trim_matches([' ', '|', '`']))
                .collect();
            assert!(
                cells.len() == 4 && cells.iter().all(|cell| !cell.is_empty()),
                "{row}"
            );
            (cells[0].to_owned(), false)
        });
        Accepted {
            lines: lines.collect(),
            unexplained: Vec::new(),
        }
    }

    pub(crate) fn compare<T: PartialEq + Debug>(&mut self, name: &str, asked: &str, ours: &T, theirs: &T) {
        if ours == theirs {
            return;
        }
        match self.lines.get_mut(name) {
            Some(seen) => *seen = true,
            None => self
                .unexplained
                .push(format!("{name}: {asked}\n  ours   {ours:?}\n  theirs {theirs:?}")),
        }
    }

    /// Fails for differences without a row, and for rows without a difference.
    pub(crate) fn finish(self) {
        let stale: Vec<&String> = self
            .lines
            .iter()
            .filter(|(_, seen)| !**seen)
            .map(|(name, _)| name)
            .collect();
        let count = self.unexplained.len();
        assert!(
            self.unexplained.is_empty(),
            "{count} differ without a reason in {TABLE}:\n{}",
            self.unexplained.join("\n")
        );
        assert!(stale.is_empty(), "no longer different, but in {TABLE}: {stale:?}");
    }
}
