//! Messages of your own: an order comes in, its confirmation goes out, once.

use postroom::{App, Cx, CxError, Handle, Handler, Message};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize, Message)]
#[message(subject = "orders.created", id = "orders.created.v1")]
struct OrderCreated {
    order: String,
}

#[derive(Debug, Serialize, Deserialize, Message)]
#[message(subject = "orders.confirmed", id = "orders.confirmed.v1")]
struct OrderConfirmed {
    order: String,
}

#[derive(Handler)]
#[handler(
    on = OrderCreated,
    id = "confirm-order",
    idempotent(key = [order], ttl = "7d"),
    retry(max = 8, backoff = "2s..15m"),
    timeout = "30s",
    concurrency = 8,
)]
struct ConfirmOrder;

impl Handle<OrderCreated> for ConfirmOrder {
    type Error = CxError;

    async fn handle(&self, order: OrderCreated, cx: &mut Cx<'_>) -> Result<(), CxError> {
        cx.publish(&OrderConfirmed { order: order.order }).await
    }
}

#[tokio::main]
async fn main() -> postroom::Result<()> {
    App::from_env().await?.handler(ConfirmOrder).run().await
}
