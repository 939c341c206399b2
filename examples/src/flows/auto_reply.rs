//! Answers by rules, which need no program: the first one that matches answers, and never a machine, a list or a bounce.

use crate::stage::{AnyError, Stage};

const RULES: &str = r#"
[[accounts.reply]]
name = "hours"
subject = "opening hours"
text = "Dear {name}, we are open from nine to five."

[[accounts.reply]]
name = "everything else"
text = "Dear {name}, thank you for your message about \"{subject}\". A person will answer it."
"#;

/// Gives the answers.
pub async fn play() -> Result<Vec<String>, AnyError> {
    let play = Stage::set(RULES, &[]).await?.play(|app| app).await?;
    play.arrives(
        "list@mail.example",
        "Opening hours of all shops",
        "List-Id: shops.example\r\n",
        "News.",
    )
    .await?;
    play.arrives(
        "Ada <ada@mail.example>",
        "Opening hours?",
        "",
        "When are you open?",
    )
    .await?;
    play.arrives("Bob <bob@mail.example>", "My order", "", "Where is it?")
        .await?;
    play.sent(2).await?;
    play.end().await
}
