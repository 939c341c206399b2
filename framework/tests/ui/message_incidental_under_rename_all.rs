use postroom::Message;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Message)]
#[message(subject = "orders.created", id = "orders.created.v1")]
#[serde(rename_all = "camelCase")]
struct OrderCreated {
    #[message(incidental)]
    order: String,
}

fn main() {}
