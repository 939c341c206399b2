use postroom::{App, CxError, Message, Spec};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Message)]
#[message(subject = "orders.created", id = "orders.created.v1")]
struct OrderCreated {
    order: String,
}

async fn confirm() -> Result<(), CxError> {
    Ok(())
}

fn add(app: App) -> App {
    app.function(Spec::new("confirm-order"), confirm)
}

fn main() {}
