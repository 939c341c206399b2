use postroom::{Cx, Handle, Handler, Message};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Message)]
#[message(subject = "orders.created", id = "orders.created.v1")]
struct OrderCreated {
    order: String,
}

#[derive(Debug, thiserror::Error, postroom::HandlerError)]
enum ConfirmError {
    #[error("the line went dead")]
    #[on(ambiguous)]
    LineDead,
}

#[derive(Handler)]
#[handler(on = OrderCreated, id = "confirm-order", ambiguous = Reconcile)]
struct ConfirmOrder;

impl Handle<OrderCreated> for ConfirmOrder {
    type Error = ConfirmError;
    async fn handle(&self, _: OrderCreated, _: &mut Cx<'_>) -> Result<(), ConfirmError> {
        Err(ConfirmError::LineDead)
    }
}

fn main() {}
