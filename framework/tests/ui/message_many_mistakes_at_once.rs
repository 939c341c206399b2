use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, postroom::Message)]
#[message(subject = "orders.*", id = "orders.created", subjects = "orders.created")]
struct OrderCreated {
    #[message(incidentl)]
    order: String,
    #[serde(rename = "at")]
    #[message(incidental)]
    received_at: String,
}

fn main() {}
