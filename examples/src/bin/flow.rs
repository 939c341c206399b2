//! Plays a flow on a development mailbox of its own, and shows what came of it:
//! `cargo run -p postroom-examples --bin flow -- helpdesk`.

use postroom_examples::flows::{auto_reply, digest, helpdesk, newsletter, webhook};
use postroom_examples::stage::AnyError;

#[tokio::main]
async fn main() -> Result<(), AnyError> {
    let told = match std::env::args().nth(1).as_deref() {
        Some("auto-reply") => auto_reply::play().await?,
        Some("helpdesk") => helpdesk::play().await?,
        Some("newsletter") => newsletter::play().await?,
        Some("webhook") => webhook::play().await?,
        Some("digest") => digest::play().await?,
        _ => return Err("name a flow: auto-reply, helpdesk, newsletter, webhook or digest".into()),
    };
    for one in told {
        eprintln!("{one}\n----");
    }
    Ok(())
}
