//! Which request about one stream a subject names.

use crate::jetstream::stream::StreamRequest;

/// The stream a request is about, the kind of its answer, and the request.
pub fn stream_request<'a>(named: &[&'a str]) -> Option<(&'a str, &'static str, StreamRequest)> {
    let owned = |name: &&str| (*name).to_owned();
    Some(match named {
        ["STREAM", "INFO", stream] => (stream, "stream_info", StreamRequest::Info),
        ["STREAM", "PURGE", stream] => (stream, "stream_purge", StreamRequest::Purge),
        ["STREAM", "MSG", "GET", stream] => (stream, "stream_msg_get", StreamRequest::MessageGet),
        ["STREAM", "MSG", "DELETE", stream] => (stream, "stream_msg_delete", StreamRequest::MessageDelete),
        ["CONSUMER", "CREATE", stream, rest @ ..] => {
            let name = rest.first().map(owned);
            let filter = (rest.len() > 1).then(|| rest[1..].join("."));
            let request = StreamRequest::ConsumerCreate {
                name,
                filter,
                is_durable_form: false,
            };
            (stream, "consumer_create", request)
        }
        ["CONSUMER", "DURABLE", "CREATE", stream, name] => {
            let name = Some(owned(name));
            let request = StreamRequest::ConsumerCreate {
                name,
                filter: None,
                is_durable_form: true,
            };
            (stream, "consumer_create", request)
        }
        ["CONSUMER", "INFO", stream, name] => {
            (stream, "consumer_info", StreamRequest::ConsumerInfo(owned(name)))
        }
        ["CONSUMER", "DELETE", stream, name] => (
            stream,
            "consumer_delete",
            StreamRequest::ConsumerDelete(owned(name)),
        ),
        ["CONSUMER", "PAUSE", stream, name] => (
            stream,
            "consumer_pause",
            StreamRequest::ConsumerPause(owned(name)),
        ),
        ["CONSUMER", "UNPIN", stream, name] => (
            stream,
            "consumer_unpin",
            StreamRequest::ConsumerUnpin(owned(name)),
        ),
        ["CONSUMER", "RESET", stream, name] => (
            stream,
            "consumer_reset",
            StreamRequest::ConsumerReset(owned(name)),
        ),
        ["CONSUMER", "NAMES", stream] => (stream, "consumer_names", StreamRequest::ConsumerNames),
        ["CONSUMER", "LIST", stream] => (stream, "consumer_list", StreamRequest::ConsumerList),
        _ => return None,
    })
}
