use postroom::Message;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Message)]
#[message(subject = "orders.created", id = "orders.created.v1")]
struct OrderCreated {
    #[message(incidental)]
    #[serde(flatten)]
    order: std::collections::BTreeMap<String, String>,
}

fn main() {}
