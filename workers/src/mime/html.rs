//! HTML that can be shown: no scripts, no forms, no styles, and nothing that is loaded from elsewhere.
//!
//! What a mail loads tells its sender that, when and where it was read. So images stay only where the mail brings them
//! itself (`cid:`). Links stay, without telling where they were followed from. What is left is text, tables and pictures.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use ammonia::{Builder, UrlRelative};
use mail_parser::{Message, PartType};

/// Gmail cuts what it shows at 100 KB; the longest newsletters have a few hundred.
pub(super) const MAX_HTML_BYTES: usize = 1024 * 1024;
/// Tables in tables of old newsletters reach thirty. What closes nothing counts, too, until its parent is closed.
const MAX_DEPTH: usize = 400;
/// What the tree may come to: every element, and whatever formatting is still open when it begins, which HTML has begin
/// anew in each paragraph.
const MAX_NODES: usize = 200_000;
/// Character references, such as `&nbsp;`. The parser takes the square of their number in time.
const MAX_REFERENCES: usize = 20_000;

/// HTML that is not shown, and why: part of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Withheld {
    #[error("the HTML has {0} bytes, more than {MAX_HTML_BYTES}")]
    Size(usize),
    #[error("the HTML's elements are nested more than {MAX_DEPTH} deep")]
    Depth,
    #[error("the HTML comes to more than {MAX_NODES} elements")]
    Elements,
    #[error("the HTML has {0} character references, more than {MAX_REFERENCES}")]
    References(usize),
}

/// The first HTML of the mail, made harmless; `None` where it has none.
pub(super) fn of(message: &Message<'_>) -> Option<Result<String, Withheld>> {
    message.html_bodies().find_map(|part| match &part.body {
        PartType::Html(html) => Some(sanitised(html)),
        _ => None,
    })
}

fn sanitised(html: &str) -> Result<String, Withheld> {
    if html.len() > MAX_HTML_BYTES {
        return Err(Withheld::Size(html.len()));
    }
    weigh(html)?;
    Ok(SANITISER.clean(html).to_string())
}

static SANITISER: LazyLock<Builder<'static>> = LazyLock::new(|| {
    let presentation = HashSet::from([
        "align",
        "bgcolor",
        "border",
        "cellpadding",
        "cellspacing",
        "color",
        "dir",
        "face",
        "height",
        "lang",
        "size",
        "title",
        "valign",
        "width",
    ]);
    let mut builder = Builder::default();
    builder
        .add_tags(["center", "font", "u", "s", "big"])
        .add_clean_content_tags(["noscript", "title", "template"])
        .rm_tags(["map", "area", "article", "aside", "nav"])
        .add_generic_attributes(presentation)
        .url_schemes(HashSet::from(["cid", "http", "https", "mailto", "tel"]))
        .url_relative(UrlRelative::Deny)
        .link_rel(Some("noopener noreferrer nofollow"))
        .attribute_filter(|element, attribute, value| match (element, attribute) {
            ("a", "href") => (!is_cid(value)).then_some(Cow::Borrowed(value)),
            // Whatever else holds an address holds one to load from, or to report to.
            (_, "src" | "cite" | "href") => is_cid(value).then_some(Cow::Borrowed(value)),
            _ => Some(Cow::Borrowed(value)),
        });
    builder
});

fn is_cid(url: &str) -> bool {
    url.trim_start()
        .get(..4)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("cid:"))
}

/// Bounds what the parser makes of it, from its tags alone: the tree is deeper than the text is nested, and larger than
/// the text is long, and both before anything can be counted in it.
fn weigh(html: &str) -> Result<(), Withheld> {
    let references = html.bytes().filter(|byte| *byte == b'&').count();
    if references > MAX_REFERENCES {
        return Err(Withheld::References(references));
    }
    let mut open: HashMap<String, usize> = HashMap::new();
    let (mut depth, mut formatting, mut nodes) = (0_usize, 0_usize, 0_usize);
    for tag in html.split('<').skip(1) {
        let (is_end, tag) = tag.strip_prefix('/').map_or((false, tag), |rest| (true, rest));
        let name = name(tag);
        if name.is_empty() {
            continue;
        }
        if is_end {
            // What closes nothing is passed over by the parser, and would hide how deep it is.
            if let Some(count) = open.get_mut(&name).filter(|count| **count > 0) {
                *count -= 1;
                depth -= 1;
                formatting -= usize::from(is_formatting(&name));
            }
        } else if !is_void(&name) {
            *open.entry(name.clone()).or_default() += 1;
            depth += 1;
            formatting += usize::from(is_formatting(&name));
        }
        nodes += 1 + formatting;
        if depth > MAX_DEPTH {
            return Err(Withheld::Depth);
        }
        if nodes > MAX_NODES {
            return Err(Withheld::Elements);
        }
    }
    Ok(())
}

fn name(tag: &str) -> String {
    let is_name = |c: &char| c.is_ascii_alphanumeric() || *c == '-' || *c == ':';
    tag.chars()
        .take(20)
        .take_while(is_name)
        .collect::<String>()
        .to_ascii_lowercase()
}

/// Elements without content, and those that their next sibling closes.
fn is_void(name: &str) -> bool {
    const VOID: [&str; 14] = [
        "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source",
        "track", "wbr",
    ];
    const CLOSED_BY_NEXT: [&str; 10] = [
        "p", "li", "td", "th", "tr", "dt", "dd", "option", "tbody", "thead",
    ];
    VOID.contains(&name) || CLOSED_BY_NEXT.contains(&name)
}

/// The parser's list of what goes on in the next paragraph.
fn is_formatting(name: &str) -> bool {
    const FORMATTING: [&str; 14] = [
        "a", "b", "big", "code", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt", "u",
    ];
    FORMATTING.contains(&name)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn check(html: &str, expect: &str) {
        assert_eq!(sanitised(html).unwrap(), expect, "{html}");
    }

    #[test]
    fn what_is_shown_stays() {
        check("<p>Hi <b>Ada</b></p>", "<p>Hi <b>Ada</b></p>");
        check(
            "<a href=\"https://shop.example/?a=1\">x</a>",
            "<a href=\"https://shop.example/?a=1\" rel=\"noopener noreferrer nofollow\">x</a>",
        );
        check(
            "<img src=\"cid:logo@x\" width=\"10\" alt=\"Logo\">",
            "<img src=\"cid:logo@x\" width=\"10\" alt=\"Logo\">",
        );
        check(
            "<table bgcolor=\"#fff\"><tbody><tr><td align=\"left\">x</td></tr></tbody></table>",
            "<table bgcolor=\"#fff\"><tbody><tr><td align=\"left\">x</td></tr></tbody></table>",
        );
    }

    #[test]
    fn nothing_is_loaded_from_elsewhere() {
        for html in [
            "<img src=\"https://track.example/1.gif\">",
            "<img src=https://track.example/1.gif srcset='https://track.example/2.gif 2x'>",
            "<img src='//track.example/1.gif'>",
            "<img src='ftp://track.example/1.gif'>",
            "<img src='\u{1}https://track.example/1.gif'>",
            "<body background=\"https://track.example/1.gif\">x",
            "<td background='https://track.example/1.gif'>x</td>",
            "<div style=\"background:url(https://track.example/1.gif)\">x</div>",
            "<style>@import url(https://track.example/1.css);</style>x",
            "<link rel=stylesheet href=https://track.example/1.css>x",
            "<link rel=dns-prefetch href=//track.example>x",
            "<meta http-equiv=refresh content='0;url=https://track.example'>x",
            "<base href='https://track.example/'><img src=1.gif>",
            "<video poster='https://track.example/1.gif' src='https://track.example/1.mp4'></video>",
            "<audio src='https://track.example/1.mp3'></audio>",
            "<iframe src='https://track.example'></iframe>",
            "<iframe srcdoc='<img src=https://track.example/1.gif>'></iframe>",
            "<object data='https://track.example'></object>",
            "<embed src='https://track.example'>",
            "<svg><image href='https://track.example/1.gif'/><use href='https://track.example/1.svg#a'/></svg>",
            "<math><mtext><img src='https://track.example/1.gif'></mtext></math>",
            "<input type=image src='https://track.example/1.gif'>",
            "<form action='https://track.example'><button>x</button></form>",
            "<blockquote cite='https://track.example'>x</blockquote>",
            "<picture><source srcset='https://track.example/1.gif'><img></picture>",
            "<!--[if mso]><img src='https://track.example/1.gif'><![endif]-->x",
            "<noscript><img src='https://track.example/1.gif'></noscript>",
            "<template><img src='https://track.example/1.gif'></template>",
        ] {
            let clean = sanitised(html).unwrap();
            assert!(!clean.contains("track.example"), "{html} became {clean}");
        }
    }

    #[test]
    fn nothing_runs() {
        for html in [
            "<script>alert(1)</script>",
            "<img src=x onerror=alert(1)>",
            "<a href=\"javascript:alert(1)\">x</a>",
            "<a href=\"jav\tascript:alert(1)\">x</a>",
            "<a href=\"&#106;avascript:alert(1)\">x</a>",
            "<a href=\"data:text/html,<script>alert(1)</script>\">x</a>",
            "<a href=\"vbscript:alert(1)\">x</a>",
            "<a href=\"cid:alert(1)\">x</a>",
            "<svg onload=alert(1)>",
            "<svg><style><img src=x onerror=alert(1)></style></svg>",
            "<math><mi><style><!--</style><img src=x onerror=alert(1)>--></mi></math>",
            "<noscript><p title=\"</noscript><img src=x onerror=alert(1)>\"></noscript>",
            "<div style=\"width:expression(alert(1))\">x</div>",
            "<<script>script>alert(1)<</script>/script>",
            "<form><math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
            "<p title='\"><script>alert(1)</script>'>",
            "<textarea><script>alert(1)</script>",
            "<xmp><script>alert(1)</script></xmp>",
            "<plaintext><script>alert(1)</script>",
        ] {
            let clean = sanitised(html).unwrap();
            let tags: Vec<&str> = clean
                .split('<')
                .skip(1)
                .map(|tag| tag.split('>').next().unwrap())
                .collect();
            let runs = |tag: &&str| {
                let tag = tag.to_ascii_lowercase();
                tag.starts_with("script")
                    || tag.contains(" on")
                    || tag.contains("href=\"j")
                    || tag.contains("href=\"d")
            };
            assert!(
                !tags.iter().any(|tag| runs(tag) && !tag.contains("title=")),
                "{html} became {clean}"
            );
            assert!(!clean.contains("href="), "{html} became {clean}");
        }
    }

    #[test]
    fn bombs_are_withheld_and_take_no_time() {
        let begun = Instant::now();
        let deep = |tag: &str, times: usize| sanitised(&tag.repeat(times));
        assert!(deep("<div>", MAX_DEPTH).is_ok());
        assert_eq!(deep("<div>", MAX_DEPTH + 1), Err(Withheld::Depth));
        assert_eq!(deep("<div></x>", 20_000), Err(Withheld::Depth));
        assert_eq!(deep("<DIV\n>", 20_000), Err(Withheld::Depth));
        let spread = format!(
            "<p>{}</p>{}",
            "<font size=1>".repeat(300),
            "<p>x</p>".repeat(20_000)
        );
        assert_eq!(sanitised(&spread), Err(Withheld::Elements));
        let large = "x".repeat(MAX_HTML_BYTES);
        assert!(sanitised(&large).is_ok());
        assert_eq!(
            sanitised(&format!("{large}x")),
            Err(Withheld::Size(MAX_HTML_BYTES + 1))
        );
        let padded = "&amp;".repeat(MAX_REFERENCES + 1);
        assert_eq!(sanitised(&padded), Err(Withheld::References(MAX_REFERENCES + 1)));
        // What is let through is quick, at whatever bound it is.
        for worst in [
            "<b><i>".repeat(MAX_DEPTH / 2) + &"<p>x".repeat(MAX_NODES / (MAX_DEPTH + 2)),
            "<td><table>".repeat(MAX_DEPTH - 1),
            "<p><li><tr><td>".repeat(40_000),
            "<a href=x>".repeat(300),
            "&lt;".repeat(MAX_REFERENCES),
            "&amp;".repeat(MAX_REFERENCES),
            "<![CDATA[".repeat(50_000),
            "<!--".repeat(200_000),
        ] {
            let begun = Instant::now();
            let _ = sanitised(&worst);
            assert!(
                begun.elapsed() < Duration::from_secs(10),
                "{} took {:?}",
                &worst[..20],
                begun.elapsed()
            );
        }
        assert!(begun.elapsed() < Duration::from_secs(30));
    }
}
