use postroom::{Cx, CxError, Handle, Handler, Message};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Message)]
#[message(subject = "orders.created", id = "orders.created.v1")]
struct OrderCreated {
    order: String,
}

#[derive(Handler)]
#[handler(on = OrderCreated, id = "confirm-order", batch(10, within = "1s"))]
struct ConfirmOrder;

impl Handle<OrderCreated> for ConfirmOrder {
    type Error = CxError;
    async fn handle(&self, _: OrderCreated, _: &mut Cx<'_>) -> Result<(), CxError> {
        Ok(())
    }
}

fn main() {}
