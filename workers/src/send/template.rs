//! Mails that are written by templates: files of a folder, in Jinja's language.
//!
//! ```text
//! welcome.txt       the text; every template has one
//! welcome.html      the HTML beside it; what comes from data is escaped
//! welcome.subject   one line, in place of the payload's subject
//! _layout.html      a leading underscore: only for others to extend or include
//! ```
//!
//! All of them are read and compiled at the start, so that a mistake in one is told to whoever starts the worker. A
//! variable that nobody gave is an error that names it: no mail goes out with a hole in it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value};

use super::message::Content;
use crate::messages::Send;

const TEXT: &str = "txt";
const HTML: &str = "html";
const SUBJECT: &str = "subject";

/// The templates can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    #[error("templates: cannot read {}: {source}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("template {}: {what}", path.display())]
    Syntax { path: PathBuf, what: String },
    #[error("template {name:?} has no {name}.txt in {}; clients without HTML would show nothing: add one", folder.display())]
    NoText { name: String, folder: PathBuf },
    #[error("template: the mail names {name:?}, {there}")]
    Unknown { name: String, there: String },
    #[error("template: the mail has one, and {field} as well; leave one of them out")]
    Both { field: &'static str },
    #[error("template {file}: {what}")]
    Render { file: String, what: String },
}

/// The folder, compiled. A handle: clones share it.
#[derive(Clone, Default)]
pub struct Templates {
    inner: Option<Arc<Inner>>,
}

struct Inner {
    environment: Environment<'static>,
    names: BTreeSet<String>,
}

impl Templates {
    /// Reads all of the folder.
    ///
    /// # Errors
    /// When one of them can't be read or compiled, or has no text.
    pub fn read(folder: &Path) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|name| match name.rsplit_once('.') {
            Some((_, HTML)) => AutoEscape::Html,
            _ => AutoEscape::None,
        });
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| TemplateError::Read { path, source }
        };
        let mut names = BTreeSet::new();
        for entry in fs::read_dir(folder).map_err(failed(folder))? {
            let path = entry.map_err(failed(folder))?.path();
            let Some(file) = path.file_name().and_then(|name| name.to_str()).map(str::to_owned) else {
                continue;
            };
            let Some((name, TEXT | HTML | SUBJECT)) = file.rsplit_once('.') else {
                continue;
            };
            let source = fs::read_to_string(&path).map_err(failed(&path))?;
            if !name.starts_with('_') {
                names.insert(name.to_owned());
            }
            environment
                .add_template_owned(file.clone(), source)
                .map_err(|error| TemplateError::Syntax {
                    path: path.clone(),
                    what: shown(&error),
                })?;
        }
        for name in &names {
            if environment.get_template(&format!("{name}.{TEXT}")).is_err() {
                return Err(TemplateError::NoText {
                    name: name.clone(),
                    folder: folder.to_owned(),
                });
            }
        }
        let inner = Some(Arc::new(Inner { environment, names }));
        Ok(Self { inner })
    }

    /// What the mail says: by its template, or as it stands.
    ///
    /// # Errors
    /// When there is no such template, or a variable of it is not among the data.
    pub fn content(&self, send: &Send) -> Result<Content, TemplateError> {
        let Some(template) = &send.template else {
            return Ok(Content::of(send));
        };
        for (field, given) in [("text", !send.text.is_empty()), ("html", send.html.is_some())] {
            if given {
                return Err(TemplateError::Both { field });
            }
        }
        let inner = self.known(&template.name)?;
        let data = Value::from(Serde(&template.data));
        let render = |kind: &str| inner.render(&format!("{}.{kind}", template.name), &data);
        Ok(Content {
            subject: match render(SUBJECT)? {
                Some(subject) => subject.trim_end_matches(['\r', '\n']).to_owned(),
                None => send.subject.clone(),
            },
            text: render(TEXT)?.unwrap_or_default(),
            html: render(HTML)?,
        })
    }

    fn known(&self, name: &str) -> Result<&Inner, TemplateError> {
        let unknown = |there: String| TemplateError::Unknown {
            name: name.chars().take(100).collect(),
            there,
        };
        let Some(inner) = &self.inner else {
            return Err(unknown(
                "and no folder of templates is configured: write templates = \"FOLDER\"".to_owned(),
            ));
        };
        if !inner.names.contains(name) {
            let names: Vec<&str> = inner.names.iter().map(String::as_str).collect();
            return Err(unknown(format!("and there are {}", names.join(", "))));
        }
        Ok(inner)
    }
}

impl Inner {
    /// `None` where there is no such file.
    fn render(&self, file: &str, data: &Value) -> Result<Option<String>, TemplateError> {
        let Ok(template) = self.environment.get_template(file) else {
            return Ok(None);
        };
        let rendered = template.render(data).map_err(|error| TemplateError::Render {
            file: error.name().unwrap_or(file).to_owned(),
            what: shown(&error),
        })?;
        Ok(Some(rendered))
    }
}

/// With the line; the file is told beside it.
fn shown(error: &minijinja::Error) -> String {
    let what = error.detail().map_or_else(
        || error.kind().to_string(),
        |detail| format!("{}: {detail}", error.kind()),
    );
    match error.line() {
        Some(line) => format!("line {line}: {what}"),
        None => what,
    }
}

impl std::fmt::Debug for Templates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set()
            .entries(self.inner.iter().flat_map(|inner| &inner.names))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::messages::{Mailbox, Templated};

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    fn send(name: &str, data: &serde_json::Value) -> Send {
        let [from, to] = ["help@example.test", "ada@example.org"].map(Mailbox::bare);
        Send {
            subject: "As it was".into(),
            template: Some(Templated {
                name: name.into(),
                data: data.as_object().unwrap().clone(),
            }),
            ..Send::new("k", "help", from, to)
        }
    }

    #[test]
    fn text_html_and_subject_are_written_and_only_html_is_escaped() {
        let dir = folder(&[
            ("_layout.html", "<body>{% block main %}{% endblock %}</body>"),
            (
                "hi.html",
                "{% extends \"_layout.html\" %}{% block main %}<p>{{ name }}</p>{% endblock %}",
            ),
            (
                "hi.txt",
                "Hello {{ name }},\n{% for n in orders %}- {{ n }}\n{% endfor %}",
            ),
            ("hi.subject", "For {{ name }}\n"),
            ("bare.txt", "Hello"),
            ("README.md", "{{ not a template"),
        ]);
        let templates = Templates::read(dir.path()).unwrap();
        let data = json!({"name": "<Ada> & \"Co\"", "orders": [1, "two"]});
        let content = templates.content(&send("hi", &data)).unwrap();
        assert_eq!(content.subject, "For <Ada> & \"Co\"");
        assert_eq!(content.text, "Hello <Ada> & \"Co\",\n- 1\n- two\n");
        assert_eq!(
            content.html.as_deref(),
            Some("<body><p>&lt;Ada&gt; &amp; &quot;Co&quot;</p></body>")
        );
        let bare = templates.content(&send("bare", &json!({}))).unwrap();
        assert_eq!((&*bare.subject, bare.html), ("As it was", None));
    }

    #[test]
    fn a_variable_that_nobody_gave_is_named_with_its_file() {
        let dir = folder(&[
            ("hi.txt", "Hello\n{{ order.number }}"),
            ("deep.txt", "{% if vip %}x{% endif %}"),
        ]);
        let templates = Templates::read(dir.path()).unwrap();
        let check = |name, data, words: &[&str]| {
            let error = templates.content(&send(name, &data)).unwrap_err().to_string();
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
        };
        check("hi", json!({"order": {}}), &["hi.txt", "line 2", "number"]);
        check("hi", json!({}), &["hi.txt", "line 2", "order"]);
        check("deep", json!({}), &["deep.txt", "vip"]);
        check("bye", json!({}), &["\"bye\"", "there are deep, hi"]);
        check("_layout", json!({}), &["\"_layout\""]);
        check("../hi", json!({}), &["\"../hi\""]);
    }

    #[test]
    fn mistakes_are_told_at_the_start() {
        let check = |files, words: &[&str]| {
            let error = Templates::read(folder(files).path()).unwrap_err().to_string();
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
        };
        check(&[("hi.txt", "a\n{% if %}")], &["hi.txt", "line 2"]);
        check(&[("hi.html", "<p>")], &["hi.txt", "add one"]);
        let nowhere = Templates::read(Path::new("/nowhere")).unwrap_err().to_string();
        assert!(nowhere.contains("/nowhere"), "{nowhere}");
        let both = Send {
            text: "x".into(),
            ..send("hi", &json!({}))
        };
        let error = Templates::default().content(&both).unwrap_err().to_string();
        assert!(error.contains("text"), "{error}");
        let none = Templates::default()
            .content(&send("hi", &json!({})))
            .unwrap_err()
            .to_string();
        assert!(none.contains("templates = "), "{none}");
    }
}
