//! DIRECT.GET: stored messages as they are, with their place told in headers; one, or many in a row.

use bytes::Bytes;
use serde_json::Value;

use super::Stream;
use super::requests::GetRequest;
use crate::jetstream::json;
use crate::protocol::headers;
use crate::router::Message;
use crate::store::{Loaded, Nanos, Seq};
use crate::subject::Filter;

/// More subjects than this are not answered in one go, as by nats-server.
const MULTI_LAST_MAX: usize = 1024;

type Refusal = (u16, &'static str);

const EMPTY: Refusal = (408, "Empty Request");
const BAD: Refusal = (408, "Bad Request");
const NOT_FOUND: Refusal = (404, "Message Not Found");

/// What a batch says of itself as it goes on.
struct Progress {
    /// Messages after this one; the last sequence sent before it.
    pending: u64,
    last: Seq,
    up_to: Option<Seq>,
}

impl Stream {
    pub(super) fn direct_get(&mut self, reply: &Bytes, last_by_subject: Option<String>, body: &[u8]) {
        let outcome = match decode(last_by_subject, body) {
            Ok(request) if !request.multi_last.is_empty() => self.send_multi_last(reply, &request),
            Ok(request) if request.batch > 0 => self.send_batch(reply, &request),
            Ok(request) => self.send_one(reply, &request),
            Err(refusal) => Err(refusal),
        };
        if let Err((code, text)) = outcome {
            self.send_direct(reply, headers::status(code, text, &[]), &[]);
        }
    }

    fn send_one(&mut self, reply: &Bytes, request: &GetRequest) -> Result<(), Refusal> {
        // What is not durable yet may not be shown; until it is, what came before it is the newest.
        let found = self.find(request, self.visible).map_err(|_| BAD)?;
        let message = found.ok_or(NOT_FOUND)?;
        self.send_found(reply, &message, request.no_hdr, None);
        Ok(())
    }

    /// Messages in order, from a sequence or a time on.
    fn send_batch(&mut self, reply: &Bytes, request: &GetRequest) -> Result<(), Refusal> {
        let index = self.store.index();
        let filters: Vec<Filter> = match request.next_by_subj.as_str() {
            "" | ">" => Vec::new(),
            text => vec![Filter::parse(text.as_bytes()).ok_or(BAD)?],
        };
        let mut next = match request.start_time.as_deref() {
            Some(text) => {
                let time = json::parse_time(text).ok_or(BAD)?;
                index.first_since(time).map_or(Seq::MAX, |entry| entry.seq)
            }
            None => request.seq,
        };
        let unseen = index.count_matching(self.visible + 1, &filters);
        let mut progress = Progress {
            pending: index.count_matching(next, &filters).saturating_sub(unseen),
            last: 0,
            up_to: None,
        };
        let mut bytes = 0;
        for _ in 0..request.batch {
            let found = self.store.index().next_matching(next, &filters);
            let Some(seq) = found.map(|entry| entry.seq).filter(|&seq| seq <= self.visible) else {
                break;
            };
            next = seq + 1;
            let Ok(Some(message)) = self.store.load(seq) else {
                continue;
            };
            self.send_found(reply, &message, request.no_hdr, Some(&mut progress));
            bytes += message.subject.len() + message.body.len();
            if usize::try_from(request.max_bytes).is_ok_and(|max| max > 0 && bytes >= max) {
                break;
            }
        }
        if progress.last == 0 {
            return Err(NOT_FOUND);
        }
        self.send_end(reply, &progress);
        Ok(())
    }

    /// The last message of each subject, as of a sequence or a time.
    fn send_multi_last(&mut self, reply: &Bytes, request: &GetRequest) -> Result<(), Refusal> {
        let filters: Option<Vec<Filter>> = request
            .multi_last
            .iter()
            .map(|text| Filter::parse(text.as_bytes()))
            .collect();
        let filters = filters.ok_or(BAD)?;
        let index = self.store.index();
        let up_to = match request.up_to_time.as_deref() {
            Some(text) => {
                let time: Nanos = json::parse_time(text).ok_or(BAD)?;
                index
                    .first_since(time)
                    .map_or(self.visible, |entry| entry.seq.saturating_sub(1))
            }
            None if request.up_to_seq > 0 => request.up_to_seq,
            None => self.visible,
        };
        let up_to = up_to.min(self.visible);
        let mut seqs = index.last_per_subject(up_to, &filters);
        seqs.retain(|&seq| seq >= request.seq);
        if seqs.len() > MULTI_LAST_MAX {
            return Err((413, "Too Many Results"));
        }
        if seqs.is_empty() {
            return Err((404, "No Results"));
        }
        seqs.sort_unstable();
        let mut progress = Progress {
            pending: seqs.len() as u64,
            last: 0,
            up_to: Some(up_to),
        };
        let batch = usize::try_from(request.batch).ok().filter(|&batch| batch > 0);
        let mut bytes = 0;
        for seq in seqs.into_iter().take(batch.unwrap_or(usize::MAX)) {
            if let Ok(Some(message)) = self.store.load(seq) {
                self.send_found(reply, &message, false, Some(&mut progress));
                bytes += message.subject.len() + message.body.len();
            }
            if usize::try_from(request.max_bytes).is_ok_and(|max| max > 0 && bytes >= max) {
                break;
            }
        }
        self.send_end(reply, &progress);
        Ok(())
    }

    fn send_found(&mut self, reply: &Bytes, message: &Loaded, bare: bool, progress: Option<&mut Progress>) {
        let (own, payload) = message.body.split_at(message.header_len);
        let last = progress.as_ref().map_or(0, |progress| progress.last);
        let mut place = format!(
            "Nats-Stream: {}\r\nNats-Subject: {}\r\nNats-Sequence: {}\r\nNats-Time-Stamp: {}\r\n",
            self.config.name,
            String::from_utf8_lossy(&message.subject),
            message.seq,
            json::time(message.time),
        );
        if let Some(progress) = progress {
            progress.last = message.seq;
            if !bare {
                progress.pending = progress.pending.saturating_sub(1);
            }
            let pending = progress.pending;
            place.push_str(&format!(
                "Nats-Num-Pending: {pending}\r\nNats-Last-Sequence: {last}\r\n"
            ));
        }
        // Original headers come first.
        let block = if bare {
            Vec::new()
        } else {
            headers::with_lines(own, &place)
        };
        self.send_direct(reply, block, payload);
    }

    fn send_end(&mut self, reply: &Bytes, progress: &Progress) {
        let (pending, last) = (progress.pending.to_string(), progress.last.to_string());
        let up_to = progress.up_to.map(|seq| seq.to_string());
        let mut fields = vec![
            ("Nats-Num-Pending", pending.as_str()),
            ("Nats-Last-Sequence", last.as_str()),
        ];
        fields.extend(up_to.as_deref().map(|seq| ("Nats-UpTo-Sequence", seq)));
        self.send_direct(reply, headers::status(204, "EOB", &fields), &[]);
    }

    fn send_direct(&mut self, reply: &Bytes, mut block: Vec<u8>, payload: &[u8]) {
        let header_len = block.len();
        block.extend_from_slice(payload);
        let body = Bytes::from(block);
        let message = Message {
            subject: reply,
            reply: b"",
            header_len,
            body: &body,
            backing: &body,
        };
        self.around.router.publish(reply, &message, &mut self.wakes);
    }
}

/// Unknown fields are passed over here, as by nats-server, and only here.
fn decode(last_by_subject: Option<String>, body: &[u8]) -> Result<GetRequest, Refusal> {
    if let Some(last_by_subj) = last_by_subject {
        // The subject has said it all.
        if !body.is_empty() {
            return Err(BAD);
        }
        return Ok(GetRequest {
            last_by_subj,
            ..GetRequest::default()
        });
    }
    if body.is_empty() {
        return Err(EMPTY);
    }
    const MALFORMED: Refusal = (408, "Malformed Request");
    let mut value: Value = serde_json::from_slice(body).map_err(|_| MALFORMED)?;
    if let Value::Object(fields) = &mut value {
        fields.retain(|name, value| GetRequest::FIELDS.contains(&name.as_str()) && !value.is_null());
    }
    let request: GetRequest = serde_json::from_value(value).map_err(|_| MALFORMED)?;
    let has_last = !request.last_by_subj.is_empty();
    let has_next = !request.next_by_subj.is_empty();
    let has_multi = !request.multi_last.is_empty();
    let has_time = request.start_time.is_some();
    if request.seq == 0 && !has_last && !has_next && !has_multi && !has_time {
        return Err(EMPTY);
    }
    let is_twofold = has_last && (has_next || has_time || request.seq > 0 || request.batch > 0)
        || has_time && request.seq > 0
        || has_multi && (has_last || has_next)
        || request.up_to_seq > 0 && request.up_to_time.is_some();
    if is_twofold { Err(BAD) } else { Ok(request) }
}
