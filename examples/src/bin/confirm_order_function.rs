//! The same as `confirm_order`, as a function: what it needs are its arguments.

use postroom::extract::{Publisher, State};
use postroom::{App, CxError, Message, Spec};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize, Message)]
#[message(subject = "orders.created", id = "orders.created.v1")]
struct OrderCreated(String);

#[derive(Debug, Serialize, Deserialize, Message)]
#[message(subject = "orders.confirmed", id = "orders.confirmed.v1")]
struct OrderConfirmed(String);

#[derive(Clone)]
struct Shop(&'static str);

async fn confirm(order: OrderCreated, State(shop): State<Shop>, to: Publisher) -> Result<(), CxError> {
    eprintln!("{}: {} is confirmed", shop.0, order.0);
    to.publish(&OrderConfirmed(order.0)).await
}

#[tokio::main]
async fn main() -> postroom::Result<()> {
    let app = App::from_env().await?.state(Shop("Berlin"));
    app.function(Spec::new("confirm-order"), confirm).run().await
}
