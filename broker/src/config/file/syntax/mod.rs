//! nats-server's configuration syntax as values that know where they stood. Includes and variables are resolved here.
//!
//! ```text
//! key: value   key = value   key value   key { … }      separators: newline, comma or semicolon
//! "escaped \n \x41"   'as it is'   word   true   12   64KB   [1, 2]   $VARIABLE   ( a block of lines )
//! include './other.conf'        # comment        // comment
//! ```

mod value;
mod word;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Problem;
pub use value::{Entry, Item, Spot, Value};
use word::{classify, is_hash};

/// Blocks within blocks; far above any real file, far below a thread's stack.
const DEPTH_MAX: usize = 64;
/// Files that include files; a file that includes itself ends here.
const INCLUDE_DEPTH_MAX: usize = 10;

/// Reads the file at `path`; its entries, those of included files among them.
pub fn read_file(path: &Path) -> Result<Vec<Entry>, Problem> {
    let spot = Spot {
        file: path.display().to_string().into(),
        line: 1,
        column: 1,
    };
    let mut scopes = vec![Vec::new()];
    include(path, &spot, &mut scopes, 0)?;
    Ok(scopes.pop().unwrap_or_default())
}

/// Reads `text` as if it were the file `name`; includes are looked for in `folder`.
pub fn read_text(text: &str, name: &str, folder: &Path) -> Result<Vec<Entry>, Problem> {
    let mut scopes = vec![Vec::new()];
    Parser::new(text, name, folder, &mut scopes, 0).file()?;
    Ok(scopes.pop().unwrap_or_default())
}

fn include(path: &Path, at: &Spot, scopes: &mut Vec<Vec<Entry>>, depth: usize) -> Result<(), Problem> {
    if depth > INCLUDE_DEPTH_MAX {
        let text = format!("more than {INCLUDE_DEPTH_MAX} files include each other");
        return Err(Problem::new(at, text));
    }
    let text = std::fs::read_to_string(path)
        .map_err(|error| Problem::new(at, format!("can not read {}: {error}", path.display())))?;
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    Parser::new(&text, &path.display().to_string(), &folder, scopes, depth).file()
}

struct Parser<'t, 's> {
    text: &'t str,
    at: usize,
    line: usize,
    line_start: usize,
    file: Arc<str>,
    folder: PathBuf,
    /// The blocks that are open, outermost first: variables are looked up from the innermost.
    scopes: &'s mut Vec<Vec<Entry>>,
    include_depth: usize,
}

impl<'t, 's> Parser<'t, 's> {
    fn new(
        text: &'t str,
        name: &str,
        folder: &Path,
        scopes: &'s mut Vec<Vec<Entry>>,
        include_depth: usize,
    ) -> Self {
        Parser {
            text,
            at: 0,
            line: 1,
            line_start: 0,
            file: name.into(),
            folder: folder.to_owned(),
            scopes,
            include_depth,
        }
    }

    /// Entries to the end of the text, which may as a whole stand in braces, as JSON does.
    fn file(&mut self) -> Result<(), Problem> {
        self.skip_blank();
        if self.peek() == Some('{') {
            self.next();
            self.entries(Some('}'))?;
            self.skip_blank();
            return match self.peek() {
                None => Ok(()),
                Some(_) => Err(self.problem("something follows the closing brace")),
            };
        }
        self.entries(None)
    }

    fn entries(&mut self, end: Option<char>) -> Result<(), Problem> {
        loop {
            self.skip_separators();
            match self.peek() {
                None if end.is_none() => return Ok(()),
                None => return Err(self.problem("the block is not closed: } is missing")),
                found if found == end => {
                    self.next();
                    return Ok(());
                }
                Some('}' | ']' | '{' | '[' | ':' | '=') => return Err(self.problem("a key is expected here")),
                Some(_) => self.entry()?,
            }
            self.end_of_value(end)?;
        }
    }

    fn entry(&mut self) -> Result<(), Problem> {
        let at = self.spot();
        let (key, is_quoted) = self.key()?;
        let line = self.line;
        self.skip_blank();
        if let Some(':' | '=') = self.peek() {
            self.next();
            self.skip_blank();
        }
        // A value on another line is a block; anything else there is the next key.
        let is_missing = match self.peek() {
            None | Some(',' | ';' | '}' | ']') => true,
            Some('{' | '[' | '(') => false,
            Some(_) => self.line != line,
        };
        if is_missing {
            return Err(Problem::new(&at, format!("`{key}` has no value")));
        }
        let item = self.value()?;
        if key == "include" && !is_quoted {
            return self.include(&item);
        }
        let entry = Entry {
            key,
            at,
            item,
            is_variable: false,
        };
        if let Some(scope) = self.scopes.last_mut() {
            scope.push(entry);
        }
        Ok(())
    }

    fn include(&mut self, item: &Item) -> Result<(), Problem> {
        let Value::Text(name) = &item.value else {
            return Err(Problem::new(&item.at, "include needs the name of a file"));
        };
        let path = self.folder.join(name);
        include(&path, &item.at, self.scopes, self.include_depth + 1)
    }

    fn key(&mut self) -> Result<(String, bool), Problem> {
        if let Some(quote @ ('"' | '\'')) = self.peek() {
            self.next();
            return Ok((self.quoted(quote)?, true));
        }
        let is_end = |letter: char| letter.is_whitespace() || matches!(letter, ':' | '=' | '{' | '[');
        Ok((self.take_until(is_end), false))
    }

    fn value(&mut self) -> Result<Item, Problem> {
        let at = self.spot();
        let value = match self.peek() {
            Some('{') => {
                self.next();
                self.block(&at)?
            }
            Some('[') => {
                self.next();
                self.list(&at)?
            }
            Some('(') => Value::Text(self.lines()?),
            Some(quote @ ('"' | '\'')) => {
                self.next();
                Value::Text(self.quoted(quote)?)
            }
            _ => {
                let ends = |letter: char| letter.is_whitespace() || matches!(letter, ',' | ';' | ']' | '}');
                let word = self.take_until(ends);
                match word.strip_prefix('$').filter(|name| !is_hash(name)) {
                    Some(name) => self.variable(name, &at)?,
                    None if word.is_empty() => return Err(self.problem("a value is expected here")),
                    None => classify(word),
                }
            }
        };
        Ok(Item { value, at })
    }

    fn block(&mut self, at: &Spot) -> Result<Value, Problem> {
        self.check_depth(at)?;
        self.scopes.push(Vec::new());
        let read = self.entries(Some('}'));
        let entries = self.scopes.pop().unwrap_or_default();
        read.map(|()| Value::Block(entries))
    }

    fn list(&mut self, at: &Spot) -> Result<Value, Problem> {
        self.check_depth(at)?;
        let mut items = Vec::new();
        // Counts as a block for the depth; nothing is looked up in it.
        self.scopes.push(Vec::new());
        let closed = loop {
            self.skip_separators();
            match self.peek() {
                None => break Err(self.problem("the list is not closed: ] is missing")),
                Some(']') => {
                    self.next();
                    break Ok(());
                }
                Some(_) => {}
            }
            let item = self
                .value()
                .and_then(|item| self.end_of_value(Some(']')).map(|()| item));
            match item {
                Ok(item) => items.push(item),
                Err(problem) => break Err(problem),
            }
        };
        self.scopes.pop();
        closed.map(|()| Value::List(items))
    }

    fn check_depth(&self, at: &Spot) -> Result<(), Problem> {
        if self.scopes.len() > DEPTH_MAX {
            let text = format!("more than {DEPTH_MAX} blocks stand in each other");
            return Err(Problem::new(at, text));
        }
        Ok(())
    }

    /// Between values stands a separator, a line end or the end of the block.
    fn end_of_value(&mut self, end: Option<char>) -> Result<(), Problem> {
        let line = self.line;
        self.skip_blank();
        match self.peek() {
            None | Some(',' | ';') => Ok(()),
            found if found == end || self.line != line => Ok(()),
            Some(_) => Err(self.problem("a comma or a new line is expected between values")),
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String, Problem> {
        let start = self.spot();
        let mut text = String::new();
        loop {
            match self.next() {
                None => return Err(Problem::new(&start, "the quotation mark is not closed")),
                Some(letter) if letter == quote => return Ok(text),
                Some('\\') if quote == '"' => text.push(self.escape()?),
                Some(letter) => text.push(letter),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Problem> {
        let escaped = self.next();
        match escaped {
            Some('n') => Ok('\n'),
            Some('r') => Ok('\r'),
            Some('t') => Ok('\t'),
            Some(letter @ ('"' | '\\')) => Ok(letter),
            Some('x') => {
                let digits: String = (0..2).filter_map(|_| self.next()).collect();
                let code = u8::from_str_radix(&digits, 16);
                code.map(char::from)
                    .map_err(|_| self.problem("\\x takes two hexadecimal digits"))
            }
            _ => Err(self.problem("after \\ stands one of n r t x \" \\")),
        }
    }

    /// `(`, lines as they are, and `)` on a line of its own.
    fn lines(&mut self) -> Result<String, Problem> {
        let start = self.spot();
        self.next();
        let mut text = String::new();
        while let Some(letter) = self.next() {
            let closes = letter == ')'
                && text
                    .rsplit('\n')
                    .next()
                    .is_some_and(|line| line.trim().is_empty());
            if closes && text.contains('\n') {
                return Ok(text.trim_matches(['\n', '\r', ' ', '\t']).to_owned());
            }
            text.push(letter);
        }
        Err(Problem::new(
            &start,
            "the block of lines is not closed: ) on a line of its own is missing",
        ))
    }

    fn variable(&mut self, name: &str, at: &Spot) -> Result<Value, Problem> {
        for scope in self.scopes.iter_mut().rev() {
            if let Some(entry) = scope.iter_mut().rev().find(|entry| entry.key == name) {
                entry.is_variable = true;
                return Ok(entry.item.value.clone());
            }
        }
        match std::env::var(name) {
            Ok(text) => Ok(classify(text)),
            Err(_) => {
                let text = format!("${name} is set neither above nor in the environment");
                Err(Problem::new(at, text))
            }
        }
    }

    fn take_until(&mut self, is_end: impl Fn(char) -> bool) -> String {
        let mut taken = String::new();
        while let Some(letter) = self.peek().filter(|letter| !is_end(*letter)) {
            taken.push(letter);
            self.next();
        }
        taken
    }

    fn skip_separators(&mut self) {
        self.skip_blank();
        while let Some(',' | ';') = self.peek() {
            self.next();
            self.skip_blank();
        }
    }

    /// Whitespace, line ends and comments.
    fn skip_blank(&mut self) {
        while let Some(letter) = self.peek() {
            if letter == '#' || self.text[self.at..].starts_with("//") {
                self.take_until(|letter| letter == '\n');
            } else if letter.is_whitespace() {
                self.next();
            } else {
                return;
            }
        }
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let letter = self.peek()?;
        self.at += letter.len_utf8();
        if letter == '\n' {
            self.line += 1;
            self.line_start = self.at;
        }
        Some(letter)
    }

    fn spot(&self) -> Spot {
        Spot {
            file: Arc::clone(&self.file),
            line: self.line,
            column: self.text[self.line_start..self.at].chars().count() + 1,
        }
    }

    fn problem(&self, text: &str) -> Problem {
        Problem::new(&self.spot(), text)
    }
}

#[cfg(test)]
mod tests;
