//! Single values of a configuration file: of the right kind and in range, or a problem that says what would be.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use super::Problem;
use super::syntax::{Entry, Item, Value};

/// What a key of a block does to `T`.
pub type Directive<T> = (&'static str, fn(&mut T, &Item) -> Result<(), Problem>);

/// Applies each entry of a block by its key. What no key means is told with the key that was probably meant.
pub fn apply<T>(
    entries: &[Entry],
    table: &[Directive<T>],
    target: &mut T,
    unsupported: &[(&str, &str)],
    problems: &mut Vec<Problem>,
) {
    for entry in entries {
        let key = entry.key.to_ascii_lowercase();
        if let Some((_, apply)) = table.iter().find(|(name, _)| *name == key) {
            problems.extend(apply(target, &entry.item).err());
        } else if let Some((name, why)) = unsupported.iter().find(|(name, _)| *name == key) {
            problems.push(Problem::unsupported(
                &entry.at,
                format!("`{name}` is not supported: {why}"),
            ));
        } else if !entry.is_variable {
            let known = table.iter().map(|(name, _)| *name);
            problems.push(unknown(entry, &key, known));
        }
    }
}

fn unknown(entry: &Entry, key: &str, known: impl Iterator<Item = &'static str>) -> Problem {
    let near = known.map(|name| (distance(key, name), name)).min();
    // With more than half of the letters wrong it is another word.
    let text = match near.filter(|(distance, _)| distance * 2 <= key.chars().count()) {
        Some((_, name)) => format!("unknown field `{}`; did you mean `{name}`?", entry.key),
        None => format!("unknown field `{}`", entry.key),
    };
    Problem::new(&entry.at, text)
}

/// How many letters must be put in, taken out or changed to make `right` of `left`.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (at, letter) in left.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (column, other) in right.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

pub fn wrong(item: &Item, expected: &str) -> Problem {
    let given = match &item.value {
        Value::Bool(flag) => flag.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Text(text) => format!("{text:?}"),
        Value::List(_) => "a list".to_owned(),
        Value::Block(_) => "a block".to_owned(),
    };
    Problem::new(&item.at, format!("{given} is not {expected}"))
}

pub fn block(item: &Item) -> Result<&[Entry], Problem> {
    match &item.value {
        Value::Block(entries) => Ok(entries),
        _ => Err(wrong(item, "a block in braces")),
    }
}

pub fn flag(item: &Item) -> Result<bool, Problem> {
    match &item.value {
        Value::Bool(flag) => Ok(*flag),
        _ => Err(wrong(item, "true or false")),
    }
}

/// Numbers may stand where text is meant, as in `password: 1234`.
pub fn text(item: &Item) -> Result<String, Problem> {
    match &item.value {
        Value::Text(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        _ => Err(wrong(item, "text")),
    }
}

/// Text that must not stand in an error message.
pub fn secret(item: &Item) -> Result<String, Problem> {
    text(item).map_err(|_| Problem::new(&item.at, "a secret is text; put it in quotes"))
}

/// One text or a list of them.
pub fn texts(item: &Item) -> Result<Vec<String>, Problem> {
    match &item.value {
        Value::List(items) => items.iter().map(text).collect(),
        _ => text(item).map(|one| vec![one]),
    }
}

pub fn number<N: TryFrom<i64>>(item: &Item, expected: &str) -> Result<N, Problem> {
    let number = match &item.value {
        Value::Integer(number) => N::try_from(*number).ok(),
        _ => None,
    };
    number.ok_or_else(|| wrong(item, expected))
}

/// A size or count of at least 1.
pub fn size(item: &Item) -> Result<usize, Problem> {
    let size = number(item, "a size such as 1048576 or 1MB")?;
    if size == 0 {
        return Err(wrong(item, "a size above 0"));
    }
    Ok(size)
}

/// `"2s"`, `"100ms"`, `"1m30s"`, or whole seconds.
pub fn duration(item: &Item) -> Result<Duration, Problem> {
    const EXPECTED: &str = "a duration such as \"2s\" or \"100ms\"";
    match &item.value {
        Value::Integer(seconds) => u64::try_from(*seconds).ok().map(Duration::from_secs),
        Value::Float(seconds) => Duration::try_from_secs_f64(*seconds).ok(),
        Value::Text(text) => go_duration(text),
        _ => None,
    }
    .ok_or_else(|| wrong(item, EXPECTED))
}

/// Go's notation: numbers with units, one after the other.
pub fn go_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let unit_at = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, tail) = rest.split_at(unit_at);
        let next = tail
            .find(|letter: char| letter.is_ascii_digit())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(next);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        let part = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        total = total.checked_add(part)?;
        rest = tail;
    }
    Some(total)
}

/// -1 is a random port; 0 the default one, as nats-server has it.
pub fn port(item: &Item, default: u16) -> Result<u16, Problem> {
    match number::<i64>(item, "a port from 1 to 65535, or -1 for a random one")? {
        -1 => Ok(0),
        0 => Ok(default),
        port => {
            u16::try_from(port).map_err(|_| wrong(item, "a port from 1 to 65535, or -1 for a random one"))
        }
    }
}

pub fn host(item: &Item) -> Result<IpAddr, Problem> {
    resolve(&text(item)?).ok_or_else(|| wrong(item, "an address or the name of one"))
}

/// `host:port`, `:port` or a port alone.
pub fn address(item: &Item, default_port: u16) -> Result<(Option<IpAddr>, u16), Problem> {
    let Value::Text(text) = &item.value else {
        return Ok((None, port(item, default_port)?));
    };
    let wrong = || wrong(item, "an address such as 127.0.0.1:4222");
    let (name, number) = text.rsplit_once(':').ok_or_else(wrong)?;
    let number = match number.parse::<i32>() {
        Ok(-1) => 0,
        Ok(0) => default_port,
        Ok(number) => u16::try_from(number).map_err(|_| wrong())?,
        Err(_) => return Err(wrong()),
    };
    if name.is_empty() {
        return Ok((None, number));
    }
    let name = name.trim_start_matches('[').trim_end_matches(']');
    Ok((Some(resolve(name).ok_or_else(wrong)?), number))
}

fn resolve(name: &str) -> Option<IpAddr> {
    match name {
        "localhost" => return Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        "*" => return Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        _ => {}
    }
    let parsed = name.parse().ok();
    parsed.or_else(|| {
        (name, 0)
            .to_socket_addrs()
            .ok()?
            .next()
            .map(|address: SocketAddr| address.ip())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let check = |text: &str, expect: Option<u64>| {
            assert_eq!(
                go_duration(text).map(|it| it.as_millis()),
                expect.map(u128::from),
                "{text}"
            );
        };
        check("2s", Some(2000));
        check("1m30s", Some(90_000));
        check("1.5h", Some(5_400_000));
        check("100ms", Some(100));
        check("", None);
        check("5", None);
        check("5x", None);
        check("s", None);
    }

    #[test]
    fn distances() {
        for (left, right, expect) in [
            ("port", "port", 0),
            ("prot", "port", 2),
            ("porte", "port", 1),
            ("", "ab", 2),
        ] {
            assert_eq!(distance(left, right), expect, "{left} {right}");
        }
    }
}
