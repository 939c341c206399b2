//! `postroom dlq show`: one letter, whole, for people and as JSON.

use std::io::Write;

use base64::Engine;
use postroom::Store;
use postroom::store::dead_letters::{self, Action, DeadLetter, Round};
use serde_json::{Value, json};

use super::{DlqError, printable};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// As `dlq list` prints it
    id: String,
    /// As one JSON object
    #[arg(long)]
    json: bool,
    /// Nothing but the payload, byte for byte
    #[arg(long, conflicts_with = "json")]
    payload: bool,
}

pub(super) async fn show(store: &Store, args: &Args, out: &mut impl Write) -> Result<(), DlqError> {
    let mut tx = store.read().await?;
    let letter = dead_letters::find(&mut tx, &args.id)
        .await?
        .ok_or_else(|| DlqError::NotFound(args.id.clone()))?;
    if args.payload {
        out.write_all(&letter.payload)?;
        return Ok(());
    }
    let rounds = dead_letters::rounds(&mut tx, &args.id).await?;
    let trail = dead_letters::trail(&mut tx, &args.id).await?;
    if args.json {
        writeln!(out, "{}", with_story(&letter, &rounds, &trail))?;
        return Ok(());
    }
    facts(&letter, out)?;
    for round in &rounds {
        write!(
            out,
            "\nround {}, died at {}, {}",
            round.round,
            round.died_at,
            printable(&round.reason)
        )?;
        attempts(&round.history, out)?;
    }
    if !rounds.is_empty() {
        write!(out, "\nthe last round")?;
    }
    attempts(&letter.history, out)?;
    acts(&trail, out)?;
    headers(&letter, out)?;
    payload("payload", &letter.payload, out)?;
    if let Some(original) = &letter.original_payload {
        payload("payload as received", original, out)?;
    }
    Ok(())
}

fn facts(letter: &DeadLetter, out: &mut impl Write) -> Result<(), DlqError> {
    let mut line = |name: &str, value: &str| writeln!(out, "{name:12} {}", printable(value));
    line("id", &letter.id)?;
    line("state", &letter.state)?;
    line("reason", &letter.reason)?;
    line("died at", &letter.died_at)?;
    line("handler", &letter.handler)?;
    line("key", &letter.key)?;
    line("subject", &letter.subject)?;
    line(
        "stream",
        &format!("{} sequence {}", letter.stream, letter.stream_seq),
    )?;
    line("message-id", letter.message_id.as_deref().unwrap_or("-"))?;
    line("trace", letter.trace_id.as_deref().unwrap_or("-"))?;
    line("attempts", &letter.attempts.to_string())?;
    line("replays", &letter.replays.to_string())?;
    line("edits", &letter.edits.to_string())?;
    line("group", &letter.error_fingerprint)?;
    line("error", &letter.error)?;
    Ok(())
}

/// Each with its error, and below it what it logged.
fn attempts(history: &str, out: &mut impl Write) -> Result<(), DlqError> {
    let history: Vec<Value> = serde_json::from_str(history).unwrap_or_default();
    writeln!(out, "\nattempts")?;
    for attempt in &history {
        let text = |field: &str| printable(attempt[field].as_str().unwrap_or("-"));
        writeln!(
            out,
            "  {}  {}  {}: {}",
            attempt["attempt"],
            text("at"),
            text("class"),
            text("error")
        )?;
        for line in attempt["log"].as_array().into_iter().flatten() {
            writeln!(out, "     {}", printable(line.as_str().unwrap_or_default()))?;
        }
    }
    Ok(())
}

fn acts(trail: &[Action], out: &mut impl Write) -> Result<(), DlqError> {
    if !trail.is_empty() {
        writeln!(out, "\nwhat was done")?;
    }
    for act in trail {
        writeln!(
            out,
            "  {}  {:8}  {}  {}",
            act.done_at,
            act.action,
            printable(&act.done_by),
            printable(&act.detail)
        )?;
    }
    Ok(())
}

fn headers(letter: &DeadLetter, out: &mut impl Write) -> Result<(), DlqError> {
    let headers: Value = serde_json::from_str(&letter.headers).unwrap_or_default();
    writeln!(out, "\nheaders")?;
    for (name, values) in headers.as_object().into_iter().flatten() {
        for value in values.as_array().into_iter().flatten() {
            writeln!(
                out,
                "  {}: {}",
                printable(name),
                printable(value.as_str().unwrap_or_default())
            )?;
        }
    }
    Ok(())
}

fn payload(title: &str, bytes: &[u8], out: &mut impl Write) -> Result<(), DlqError> {
    writeln!(out, "\n{title}, {} bytes", bytes.len())?;
    for line in readable(bytes).lines() {
        writeln!(out, "{}", printable(line))?;
    }
    Ok(())
}

/// JSON laid out over lines; anything else escaped.
pub(super) fn readable(payload: &[u8]) -> String {
    match serde_json::from_slice::<Value>(payload) {
        Ok(value) => format!("{value:#}\n"),
        Err(_) => format!("{}\n", payload.escape_ascii()),
    }
}

/// The row as one object, nothing left out.
pub(super) fn as_json(letter: &DeadLetter) -> Value {
    let mut object = json!(letter);
    object["payload"] = bytes_as_json(&letter.payload);
    object["original_payload"] = letter
        .original_payload
        .as_deref()
        .map_or(Value::Null, bytes_as_json);
    for column in ["headers", "history"] {
        let parsed = object[column]
            .as_str()
            .and_then(|text| serde_json::from_str(text).ok());
        object[column] = parsed.unwrap_or(Value::Null);
    }
    object
}

/// The row with its earlier rounds and its trail.
pub(super) fn with_story(letter: &DeadLetter, rounds: &[Round], trail: &[Action]) -> Value {
    let mut object = as_json(letter);
    let mut earlier = json!(rounds);
    for (object, round) in earlier.as_array_mut().into_iter().flatten().zip(rounds) {
        object["history"] = serde_json::from_str(&round.history).unwrap_or(Value::Null);
    }
    object["rounds"] = earlier;
    object["trail"] = json!(trail);
    object
}

/// As text where it is text; JSON has no bytes.
fn bytes_as_json(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!({ "text": text }),
        Err(_) => json!({ "base64": base64::engine::general_purpose::STANDARD.encode(bytes) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_is_shown_with_what_it_logged_and_one_of_old_without() {
        let history = json!([
            { "attempt": 1, "at": "t1", "class": "Busy", "error": "451 busy" },
            { "attempt": 2, "at": "t2", "class": "Busy", "error": "451 busy", "log": ["t2 INFO shop: asked\u{1b}", "t2 WARN shop: no"] },
        ]);
        let mut shown = Vec::new();
        attempts(&history.to_string(), &mut shown).unwrap();
        let shown = String::from_utf8(shown).unwrap();
        let lines: Vec<_> = shown.lines().skip(2).collect();
        let escape = printable("\u{1b}");
        assert_eq!(
            lines,
            [
                "  1  t1  Busy: 451 busy".to_owned(),
                "  2  t2  Busy: 451 busy".to_owned(),
                format!("     t2 INFO shop: asked{escape}"),
                "     t2 WARN shop: no".to_owned(),
            ]
        );
    }
}
