use postroom::{App, Message};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Message)]
#[message(subject = "orders.created", id = "orders.created.v1")]
struct OrderCreated {
    order: String,
}

struct ConfirmOrder;

fn add(app: App) -> App {
    app.handler(ConfirmOrder)
}

fn main() {}
