use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, postroom::Message)]
struct OrderCreated {
    order: String,
}

fn main() {}
