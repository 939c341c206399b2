use postroom::{Handler, Message};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Message)]
#[message(subject = "orders.created", id = "orders.created.v1")]
struct OrderCreated {
    order: String,
}

#[derive(Handler)]
#[handler(on = OrderCreated, id = "confirm-order")]
struct ConfirmOrder<'a> {
    shop: &'a str,
}

fn main() {}
