use postroom::Message;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Message)]
#[message(subject = "orders.created", id = "orders.created.v1")]
struct OrderCreatedV1 {
    order: String,
}

#[derive(Serialize, Deserialize, Message)]
#[message(subject = "orders.created", id = "orders.created.v2", upcast_from = OrderCreatedV1)]
struct OrderCreated {
    order: String,
}

fn main() {}
