use postroom::Message;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Message)]
#[message(subject = "$JS.orders", id = "orders.created.v1")]
struct OrderCreated {
    order: String,
}

fn main() {}
