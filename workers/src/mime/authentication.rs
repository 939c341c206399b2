//! `Authentication-Results` (RFC 8601): what the receiving host found out about a mail's sender.
//!
//! Anybody can write such a header. One is believed where it names a host that the account trusts, and stands where that
//! host writes it: above the `Received` that tells how the mail came to it.

use super::header::Fields;
use super::text;
use crate::messages::Authentication;

/// A host reports on a signature or two for each method.
const MAX_RESULTS: usize = 50;
const MAX_PROPERTIES: usize = 10;

/// What one header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The host that says so, in lower case.
    pub authserv_id: String,
    pub results: Vec<Authentication>,
    /// How many `Received` stand above it.
    hops: usize,
}

/// What trusted hosts say: those headers of one of them that stand together, the topmost first.
pub(crate) fn trusted(claims: &[Claim], authserv_ids: &[String]) -> Vec<Authentication> {
    let is_trusted = |claim: &&Claim| {
        authserv_ids
            .iter()
            .any(|id| id.eq_ignore_ascii_case(&claim.authserv_id))
    };
    let Some(first) = claims.iter().find(is_trusted) else {
        return Vec::new();
    };
    let beside = claims
        .iter()
        .filter(|claim| claim.hops == first.hops && claim.authserv_id == first.authserv_id);
    beside
        .flat_map(|claim| claim.results.clone())
        .take(MAX_RESULTS)
        .collect()
}

/// All that the header says, true or not.
pub(super) fn claims(fields: &Fields) -> Vec<Claim> {
    let mut hops = 0;
    let mut claims = Vec::new();
    for (name, value) in fields.iter() {
        match name {
            "received" => hops += 1,
            "authentication-results" => claims.extend(claim(value, hops)),
            _ => {}
        }
        if claims.len() == MAX_RESULTS {
            break;
        }
    }
    claims
}

fn claim(value: &str, hops: usize) -> Option<Claim> {
    let mut parts = statements(value).into_iter();
    let host = parts.next()?;
    let authserv_id = unquoted(host.split_whitespace().next()?).to_ascii_lowercase();
    let results = parts.filter_map(|part| result(&part)).take(MAX_RESULTS).collect();
    Some(Claim {
        authserv_id: text::name(&authserv_id),
        results,
        hops,
    })
}

/// `method[/version]=result [reason=…] [ptype.property=value …]`
fn result(statement: &str) -> Option<Authentication> {
    let mut pairs = words(statement).into_iter().filter_map(|word| {
        let (key, value) = word.split_once('=')?;
        Some((key.to_ascii_lowercase(), text::name(unquoted(value))))
    });
    let (method, result) = pairs.next()?;
    let method = method.split('/').next().unwrap_or_default();
    let is_word =
        |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !is_word(method) || !is_word(&result) {
        return None;
    }
    let mut authentication = Authentication {
        method: method.to_owned(),
        result: result.to_ascii_lowercase(),
        reason: None,
        properties: std::collections::BTreeMap::new(),
    };
    for (key, value) in pairs.take(MAX_PROPERTIES) {
        if key == "reason" {
            authentication.reason = Some(value);
        } else if key.contains('.') {
            authentication.properties.insert(text::name(&key), value);
        }
    }
    Some(authentication)
}

/// The parts between semicolons, without comments; neither is looked for in quotes.
fn statements(value: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let (mut depth, mut is_quoted, mut is_escaped) = (0_usize, false, false);
    for c in value.chars() {
        let escaped = std::mem::take(&mut is_escaped);
        match c {
            '\\' if !escaped && (is_quoted || depth > 0) => {
                is_escaped = true;
                continue;
            }
            '"' if !escaped && depth == 0 => is_quoted = !is_quoted,
            '(' if !escaped && !is_quoted => depth += 1,
            ')' if !escaped && depth > 0 => {
                depth -= 1;
                continue;
            }
            ';' if !is_quoted && depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(part) = parts.last_mut().filter(|_| depth == 0) {
            part.push(c);
        }
    }
    parts
}

/// Words, of which those with `=` count. White space around `=` ends none, nor before it around `/` and `.`, nor in quotes.
fn words(statement: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let (mut is_quoted, mut is_new) = (false, true);
    for c in statement.chars() {
        is_quoted ^= c == '"';
        if c.is_whitespace() && !is_quoted {
            is_new = true;
            continue;
        }
        let goes_on = |word: &String| {
            let is_key = !word.contains('=');
            !is_new || word.ends_with('=') || is_key && ("=/.".contains(c) || word.ends_with(['/', '.']))
        };
        match words.last_mut().filter(|word| goes_on(word)) {
            Some(word) => word.push(c),
            None => words.push(c.to_string()),
        }
        is_new = false;
    }
    words
}

fn unquoted(value: &str) -> &str {
    value.trim().trim_matches('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(value: &str) -> Vec<String> {
        let claim = claim(value, 0).unwrap();
        let told = claim.results.iter().map(|it| {
            let properties: String = it
                .properties
                .iter()
                .map(|(key, value)| format!(" {key}={value}"))
                .collect();
            let reason = it
                .reason
                .as_ref()
                .map(|reason| format!(" ({reason})"))
                .unwrap_or_default();
            format!("{}={}{reason}{properties}", it.method, it.result)
        });
        std::iter::once(claim.authserv_id.clone()).chain(told).collect()
    }

    /// Those of RFC 8601, appendix B, and a few that are seen.
    #[test]
    fn headers_are_read_as_they_are_written() {
        for (value, expect) in [
            ("example.org 1; none", &["example.org"][..]),
            (
                "Example.com; spf=pass smtp.mailfrom=example.net",
                &["example.com", "spf=pass smtp.mailfrom=example.net"],
            ),
            (
                "example.com; auth=pass (cram-md5) smtp.auth=sender@example.net; spf = fail smtp.mailfrom=example.net",
                &[
                    "example.com",
                    "auth=pass smtp.auth=sender@example.net",
                    "spf=fail smtp.mailfrom=example.net",
                ],
            ),
            (
                "foo.example.net (foobar) 1 (baz); dkim (Because I like it) / 1 (One yay) = (wait for it) fail policy (A dot can go here) . (like that) expired (this surprised me) = (as I wasn't expecting it) 1362471462",
                &["foo.example.net", "dkim=fail policy.expired=1362471462"],
            ),
            (
                "mx.x; dkim=pass reason=\"good; very = good\" header.d=\"x.example\" header.b=\"ab(c\"",
                &[
                    "mx.x",
                    "dkim=pass (good; very = good) header.b=ab(c header.d=x.example",
                ],
            ),
            (
                "mx.x; dkim/1=PASS header.i=@a",
                &["mx.x", "dkim=pass header.i=@a"],
            ),
            (
                "mx.x; ; =; dkim; dkim=; d<m=pass; dmarc=none",
                &["mx.x", "dmarc=none"],
            ),
            ("mx.x; spf=pass (unclosed; dkim=pass", &["mx.x", "spf=pass"]),
        ] {
            assert_eq!(told(value), expect, "{value}");
        }
        assert_eq!(claim("", 0), None);
        assert_eq!(claim(";;", 0), None);
        let many = format!("mx.x{}", "; spf=pass".repeat(1_000));
        assert_eq!(claim(&many, 0).unwrap().results.len(), MAX_RESULTS);
    }

    #[test]
    fn a_forged_header_is_not_believed() {
        let mail = |lines: &str| {
            let raw = format!("{lines}From: a@b\r\n\r\n");
            crate::mime::parse(raw.as_bytes(), "0").unwrap().claims
        };
        let check = |lines: &str, expect: &[&str]| {
            let trusted = trusted(&mail(lines), &["MX.shop.example".to_owned()]);
            let found: Vec<String> = trusted
                .iter()
                .map(|it| format!("{}={}", it.method, it.result))
                .collect();
            assert_eq!(found, expect, "{lines}");
        };
        const OURS: &str = "Authentication-Results: mx.shop.example; dkim=fail\r\n";
        const FORGED: &str = "Authentication-Results: mx.shop.example; dkim=pass\r\n";
        const OTHERS: &str = "Authentication-Results: evil.example; dkim=pass\r\n";
        const RECEIVED: &str = "Received: from evil by mx.shop.example\r\n";
        check("", &[]);
        check(OTHERS, &[]);
        check(&format!("{OURS}{RECEIVED}{FORGED}"), &["dkim=fail"]);
        check(
            &format!("{RECEIVED}{OURS}{RECEIVED}{FORGED}{OTHERS}"),
            &["dkim=fail"],
        );
        check(
            &format!("{OTHERS}{OURS}authentication-results: mx.shop.example; spf=pass\r\n"),
            &["dkim=fail", "spf=pass"],
        );
    }
}
