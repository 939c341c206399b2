use postroom::Message;
use serde::Serialize;

#[derive(Serialize, Message)]
#[message(subject = "orders.created", id = "orders.created.v1")]
struct OrderCreated {
    order: String,
}

fn main() {}
