use postroom::{App, Message, Spec};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Message)]
#[message(subject = "orders.created", id = "orders.created.v1")]
struct OrderCreated {
    order: String,
}

async fn confirm(_: OrderCreated) -> Result<(), std::io::Error> {
    Ok(())
}

fn add(app: App) -> App {
    app.function(Spec::new("confirm-order"), confirm)
}

fn main() {}
