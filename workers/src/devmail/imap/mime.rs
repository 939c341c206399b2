//! A message as IMAP numbers its parts (RFC 3501 6.4.5): ENVELOPE, BODYSTRUCTURE and `BODY[1.2.MIME]`.

use std::borrow::Cow;
use std::panic::catch_unwind;

use imap_next::imap_types::body::{BasicFields, Body, BodyStructure, SpecificFields};
use imap_next::imap_types::core::{IString, NString, Quoted, Vec1};
use imap_next::imap_types::envelope::Envelope;
use imap_next::imap_types::fetch::Part;
use mail_parser::{Message, MessageParser, MessagePart, MimeHeaders, PartType};

use super::{envelope, header};
use crate::mime::outline;

/// Depth takes a Content-Type at each level, and the parser's data is dropped recursively: this bounds its stack.
const MAX_CONTENT_TYPES: usize = 1_000;

/// Nesting that a person could have meant. Deeper parts are shown as one opaque part, and no client's stack is at risk.
const MAX_DEPTH: usize = 100;

/// The message with encoded `message/*` parts left undecoded: their insides have no part numbers in IMAP either.
/// No byte moves, so offsets hold in both.
pub(super) fn masked(raw: &[u8]) -> Cow<'_, [u8]> {
    outline::mask_encoded_messages(raw)
}

pub(super) struct Mime<'m> {
    raw: &'m [u8],
    message: Option<Message<'m>>,
}

/// A part, and the message that its offsets count in.
#[derive(Clone, Copy)]
struct Node<'n, 'm> {
    message: &'n Message<'m>,
    part: &'n MessagePart<'m>,
}

impl<'m> Mime<'m> {
    /// Takes what [`masked`] made of `raw`. What is hostile by its number of parts, or makes the parser panic, has no
    /// structure to show.
    pub(super) fn parse(raw: &'m [u8], masked: &'m [u8]) -> Self {
        if outline::count_content_types(raw) > MAX_CONTENT_TYPES {
            return Self { raw, message: None };
        }
        let message = catch_unwind(|| MessageParser::default().parse(masked))
            .ok()
            .flatten();
        Self { raw, message }
    }

    pub(super) fn envelope(&self) -> Envelope<'static> {
        envelope::envelope(self.raw, self.message.as_ref())
    }

    pub(super) fn structure(&self) -> BodyStructure<'static> {
        match &self.message {
            Some(message) => structure(
                Node {
                    message,
                    part: message.root_part(),
                },
                0,
            ),
            None => opaque(size(header::split(self.raw).1)),
        }
    }

    /// The body of a part, still encoded.
    pub(super) fn body(&self, part: &Part) -> Option<&[u8]> {
        self.find(part)?.body()
    }

    /// The MIME header of a part.
    pub(super) fn header(&self, part: &Part) -> Option<&[u8]> {
        self.find(part)?.header()
    }

    /// The bytes of the message within a message/rfc822 part.
    pub(super) fn nested_message(&self, part: &Part) -> Option<&[u8]> {
        let node = self.find(part)?;
        matches!(node.part.body, PartType::Message(_)).then(|| node.body())?
    }

    fn find(&self, numbers: &Part) -> Option<Node<'_, 'm>> {
        let message = self.message.as_ref()?;
        let mut node = Node {
            message,
            part: message.root_part(),
        };
        let mut is_root = true;
        for number in numbers.0.as_ref() {
            let index = number.get() as usize - 1;
            if let (false, PartType::Message(nested)) = (is_root, &node.part.body) {
                (node, is_root) = (
                    Node {
                        message: nested,
                        part: nested.root_part(),
                    },
                    true,
                );
            }
            node = match &node.part.body {
                PartType::Multipart(children) => node.child(*children.get(index)?)?,
                // The body of a message that is not multipart is its part 1.
                _ if is_root && index == 0 => node,
                _ => return None,
            };
            is_root = false;
        }
        Some(node)
    }
}

impl<'n, 'm> Node<'n, 'm> {
    fn child(self, id: u32) -> Option<Self> {
        Some(Self {
            message: self.message,
            part: self.message.part(id)?,
        })
    }

    fn body(self) -> Option<&'n [u8]> {
        self.slice(self.part.raw_body_offset(), self.part.raw_end_offset())
    }

    fn header(self) -> Option<&'n [u8]> {
        self.slice(self.part.raw_header_offset(), self.part.raw_body_offset())
    }

    fn slice(self, from: u32, to: u32) -> Option<&'n [u8]> {
        self.message.raw_message.get(from as usize..to as usize)
    }
}

fn structure(node: Node<'_, '_>, depth: usize) -> BodyStructure<'static> {
    let body = node.body().unwrap_or_default();
    let content_type = node.part.content_type();
    let subtype = |default: &str| istring(content_type.and_then(|of| of.subtype()).unwrap_or(default));
    if depth == MAX_DEPTH {
        return opaque(size(body));
    }
    let specific = match &node.part.body {
        PartType::Multipart(children) => {
            let children = children.iter().filter_map(|id| node.child(*id));
            let bodies: Vec<_> = children.map(|child| structure(child, depth + 1)).collect();
            return match Vec1::try_from(bodies) {
                Ok(bodies) => BodyStructure::Multi {
                    bodies,
                    subtype: subtype("mixed"),
                    extension_data: None,
                },
                Err(_) => opaque(size(body)),
            };
        }
        PartType::Message(nested) => SpecificFields::Message {
            envelope: Box::new(envelope::envelope(body, Some(nested))),
            body_structure: Box::new(structure(
                Node {
                    message: nested,
                    part: nested.root_part(),
                },
                depth + 1,
            )),
            number_of_lines: lines(body),
        },
        PartType::Text(_) => SpecificFields::Text {
            subtype: subtype("plain"),
            number_of_lines: lines(body),
        },
        PartType::Html(_) => SpecificFields::Text {
            subtype: subtype("html"),
            number_of_lines: lines(body),
        },
        PartType::Binary(_) | PartType::InlineBinary(_) => SpecificFields::Basic {
            r#type: istring(content_type.map_or("application", |of| of.ctype())),
            subtype: subtype("octet-stream"),
        },
    };
    BodyStructure::Single {
        body: Body {
            basic: basic(node.part, body),
            specific,
        },
        extension_data: None,
    }
}

fn basic(part: &MessagePart<'_>, body: &[u8]) -> BasicFields<'static> {
    let attributes = part
        .content_type()
        .and_then(|of| of.attributes())
        .unwrap_or_default();
    BasicFields {
        parameter_list: attributes
            .iter()
            .map(|of| (istring(&of.name), istring(&of.value)))
            .collect(),
        id: nstring(part.content_id()),
        description: nstring(part.content_description()),
        content_transfer_encoding: istring(part.content_transfer_encoding().unwrap_or("7bit")),
        size: size(body),
    }
}

fn opaque(size: u32) -> BodyStructure<'static> {
    let basic = BasicFields {
        parameter_list: Vec::new(),
        id: NString(None),
        description: NString(None),
        content_transfer_encoding: istring("8bit"),
        size,
    };
    let specific = SpecificFields::Basic {
        r#type: istring("application"),
        subtype: istring("octet-stream"),
    };
    BodyStructure::Single {
        body: Body { basic, specific },
        extension_data: None,
    }
}

fn size(body: &[u8]) -> u32 {
    u32::try_from(body.len()).unwrap_or(u32::MAX)
}

fn lines(body: &[u8]) -> u32 {
    u32::try_from(body.iter().filter(|byte| **byte == b'\n').count()).unwrap_or(u32::MAX)
}

/// A string for the wire; NUL, which IMAP cannot carry, is left out.
pub(super) fn istring(text: &str) -> IString<'static> {
    IString::try_from(text.replace('\0', "")).unwrap_or(IString::Quoted(Quoted::unvalidated("")))
}

pub(super) fn nstring(text: Option<&str>) -> NString<'static> {
    NString(text.map(istring))
}

#[cfg(test)]
#[path = "mime_tests.rs"]
mod tests;
