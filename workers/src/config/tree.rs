//! Settings before they have types: a tree whose every value knows where it was said.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Where a setting was said, as an error names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    File { path: PathBuf, line: usize },
    Variable(String),
    Flag(&'static str),
}

impl Origin {
    pub(super) fn is_file(&self) -> bool {
        matches!(self, Self::File { .. })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "--{name}"),
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Node {
    /// Of the key in a table, of the value in a list.
    pub(super) origin: Origin,
    pub(super) value: Value,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    Text(String),
    /// A number as it was written.
    Number(String),
    Table(Table),
    List(Vec<Node>),
    /// Something that no setting is, by its TOML name.
    Other(&'static str),
}

impl Value {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Number(_) => "a number",
            Self::Table(_) => "a table",
            Self::List(_) => "a list",
            Self::Other(kind) => kind,
        }
    }
}

pub(super) type Table = BTreeMap<String, Node>;

/// The file is no TOML.
#[derive(Debug, thiserror::Error)]
#[error("{origin}: {message}")]
pub(super) struct SyntaxError {
    origin: Origin,
    message: String,
}

pub(super) fn parse(path: &std::path::Path, text: &str) -> Result<Table, SyntaxError> {
    let file = File { path, text };
    match DeTable::parse(text) {
        Ok(table) => Ok(file.table(table.get_ref())),
        Err(error) => Err(SyntaxError {
            origin: file.origin(error.span().map_or(0, |span| span.start)),
            message: error.message().to_owned(),
        }),
    }
}

struct File<'t> {
    path: &'t std::path::Path,
    text: &'t str,
}

impl File<'_> {
    fn table(&self, table: &DeTable<'_>) -> Table {
        let entry = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
            let node = Node {
                origin: self.origin(key.span().start),
                value: self.value(value.get_ref()),
            };
            (AsRef::<str>::as_ref(key.get_ref()).to_owned(), node)
        };
        table.iter().map(entry).collect()
    }

    fn value(&self, value: &DeValue<'_>) -> Value {
        match value {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(number) => Value::Number(number.as_str().to_owned()),
            DeValue::Table(table) => Value::Table(self.table(table)),
            DeValue::Array(items) => {
                let node = |item: &Spanned<DeValue<'_>>| Node {
                    origin: self.origin(item.span().start),
                    value: self.value(item.get_ref()),
                };
                Value::List(items.iter().map(node).collect())
            }
            DeValue::Float(_) => Value::Other("a fraction"),
            DeValue::Boolean(_) => Value::Other("true or false"),
            DeValue::Datetime(_) => Value::Other("a date"),
        }
    }

    fn origin(&self, offset: usize) -> Origin {
        let before = self.text.as_bytes().get(..offset).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        Origin::File {
            path: self.path.to_owned(),
            line,
        }
    }
}

/// Says a setting anew, over whatever was said before.
pub(super) fn set(table: &mut Table, path: &[&str], text: String, origin: Origin) {
    let Some((last, parents)) = path.split_last() else {
        return;
    };
    let mut table = table;
    for parent in parents {
        let node = table.entry((*parent).to_owned()).or_insert_with(|| Node {
            origin: origin.clone(),
            value: Value::Table(Table::new()),
        });
        match &mut node.value {
            Value::Table(inner) => table = inner,
            // Not a table: the mistake is found, and named, when the tree is read.
            _ => return,
        }
    }
    // Three ways to say one thing: the later one replaces all.
    if last.starts_with("password") {
        table.retain(|key, _| !key.starts_with("password"));
    }
    table.insert(
        (*last).to_owned(),
        Node {
            origin,
            value: Value::Text(text),
        },
    );
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn each_key_knows_its_line() {
        let table = parse(
            Path::new("p.toml"),
            "a = 1\n\n[b]\nc = \"x\"\n[[d]]\n[[d]]\ne = 2\n",
        )
        .unwrap();
        assert_eq!(table["a"].origin.to_string(), "p.toml:1");
        let Value::Table(b) = &table["b"].value else {
            panic!()
        };
        assert_eq!(b["c"].origin.to_string(), "p.toml:4");
        let Value::List(d) = &table["d"].value else {
            panic!()
        };
        let Value::Table(second) = &d[1].value else {
            panic!()
        };
        assert_eq!(second["e"].origin.to_string(), "p.toml:7");
    }

    #[test]
    fn what_is_no_toml_is_named_by_line() {
        let error = parse(Path::new("p.toml"), "a = 1\nb = \n")
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("p.toml:2: "), "{error}");
    }
}
