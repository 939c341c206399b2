use postroom::Message;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Message)]
#[message(subject = "orders.created", id = "orders.created.v1")]
#[message(id = "orders.created.v2")]
struct OrderCreated {
    order: String,
}

fn main() {}
