//! A tree of filters by token: which values does a literal subject reach? Pure.

use std::collections::HashMap;

use crate::subject::{Filter, tokens};

/// Values of type `T`, each filed under a filter.
#[derive(Debug)]
pub struct Trie<T> {
    root: Node<T>,
    len: usize,
}

#[derive(Debug)]
struct Node<T> {
    /// Values whose filter ends here.
    here: Vec<T>,
    /// Values whose filter continues with `>`.
    rest: Vec<T>,
    star: Option<Box<Node<T>>>,
    literal: HashMap<Box<[u8]>, Node<T>>,
}

impl<T> Default for Trie<T> {
    fn default() -> Trie<T> {
        Trie {
            root: Node::default(),
            len: 0,
        }
    }
}

impl<T> Default for Node<T> {
    fn default() -> Node<T> {
        Node {
            here: Vec::new(),
            rest: Vec::new(),
            star: None,
            literal: HashMap::new(),
        }
    }
}

impl<T> Trie<T> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn insert(&mut self, filter: &Filter, value: T) {
        let mut node = &mut self.root;
        for token in tokens(filter.as_bytes()) {
            node = match token {
                b">" => {
                    node.rest.push(value);
                    self.len += 1;
                    return;
                }
                b"*" => node.star.get_or_insert_default(),
                literal => node.literal.entry(literal.into()).or_default(),
            };
        }
        node.here.push(value);
        self.len += 1;
    }

    /// Takes out the first value under `filter` that `is_it` accepts.
    pub fn remove(&mut self, filter: &Filter, is_it: impl Fn(&T) -> bool) -> Option<T> {
        let path: Vec<&[u8]> = tokens(filter.as_bytes()).collect();
        let removed = remove_below(&mut self.root, &path, &is_it);
        self.len -= usize::from(removed.is_some());
        removed
    }

    /// Calls `visit` for every value whose filter matches the literal `subject`.
    pub fn for_each_match<'t>(&'t self, subject: &[u8], mut visit: impl FnMut(&'t T)) {
        // An own stack, because subjects come from outside and may have thousands of tokens.
        let mut open: Vec<(&'t Node<T>, Option<&[u8]>)> = vec![(&self.root, Some(subject))];
        while let Some((node, rest)) = open.pop() {
            let Some(rest) = rest else {
                node.here.iter().for_each(&mut visit);
                continue;
            };
            node.rest.iter().for_each(&mut visit);
            let (token, below) = match rest.iter().position(|&byte| byte == b'.') {
                Some(dot) => (&rest[..dot], Some(&rest[dot + 1..])),
                None => (rest, None),
            };
            if let Some(star) = &node.star {
                open.push((star, below));
            }
            if let Some(literal) = node.literal.get(token) {
                open.push((literal, below));
            }
        }
    }
}

impl<T> Node<T> {
    fn is_unused(&self) -> bool {
        self.here.is_empty() && self.rest.is_empty() && self.star.is_none() && self.literal.is_empty()
    }
}

/// Recursion is as deep as the filter has tokens, which [`Filter::parse`] bounds.
fn remove_below<T>(node: &mut Node<T>, path: &[&[u8]], is_it: &impl Fn(&T) -> bool) -> Option<T> {
    let take = |values: &mut Vec<T>| values.iter().position(is_it).map(|at| values.swap_remove(at));
    match path {
        [] => take(&mut node.here),
        [b">"] => take(&mut node.rest),
        [b"*", below @ ..] => {
            let star = node.star.as_mut()?;
            let removed = remove_below(star, below, is_it);
            if star.is_unused() {
                node.star = None;
            }
            removed
        }
        [token, below @ ..] => {
            let child = node.literal.get_mut(*token)?;
            let removed = remove_below(child, below, is_it);
            if child.is_unused() {
                node.literal.remove(*token);
            }
            removed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filter(text: &str) -> Filter {
        Filter::parse(text.as_bytes()).unwrap()
    }

    fn matches(trie: &Trie<String>, subject: &str) -> Vec<String> {
        let mut found = Vec::new();
        trie.for_each_match(subject.as_bytes(), |value| found.push(value.clone()));
        found.sort();
        found
    }

    #[test]
    fn insert_match_remove() {
        let mut trie = Trie::default();
        for text in ["a.b", "a.*", "a.>", ">", "*.b", "a.b"] {
            trie.insert(&filter(text), text.to_owned());
        }
        assert_eq!(matches(&trie, "a.b"), ["*.b", ">", "a.*", "a.>", "a.b", "a.b"]);
        assert_eq!(matches(&trie, "a"), [">"]);
        assert_eq!(matches(&trie, "a.b.c"), [">", "a.>"]);
        assert_eq!(trie.remove(&filter("a.b"), |_| true), Some("a.b".to_owned()));
        assert_eq!(trie.remove(&filter("a.x"), |_| true), None);
        assert_eq!(trie.len(), 5);
        for text in ["a.b", "a.*", "a.>", ">", "*.b"] {
            assert!(trie.remove(&filter(text), |value| value == text).is_some());
        }
        assert!(trie.len() == 0 && trie.root.is_unused());
    }

    proptest! {
        /// The trie agrees with [`Filter::matches`] asked one by one.
        #[test]
        fn agrees_with_the_definition(
            filters in proptest::collection::vec("([ab*]\\.){0,3}[ab*>]", 0..20),
            subject in "([ab]\\.){0,4}[ab]",
        ) {
            let mut trie = Trie::default();
            let mut expect = Vec::new();
            for text in &filters {
                trie.insert(&filter(text), text.clone());
                if filter(text).matches(subject.as_bytes()) {
                    expect.push(text.clone());
                }
            }
            expect.sort();
            prop_assert_eq!(matches(&trie, &subject), expect);
        }
    }
}
