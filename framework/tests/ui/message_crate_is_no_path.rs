use postroom::Message;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Message)]
#[message(subject = "orders.created", id = "orders.created.v1", crate = "my mail")]
struct OrderCreated {
    order: String,
}

fn main() {}
