use postroom::{Cx, CxError, Handle, Handler, Message};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Message)]
#[message(subject = "orders.created", id = "orders.created.v1")]
struct OrderCreated {
    order: String,
    weight: f64,
}


#[derive(Handler)]
#[handler(on = OrderCreated, id = "confirm-order")]
struct ConfirmOrder;

impl Handle<OrderCreated> for ConfirmOrder {
    type Error = std::io::Error;
    async fn handle(&self, _: OrderCreated, _: &mut Cx<'_>) -> Result<(), std::io::Error> {
        Ok(())
    }
}

fn main() {
    let _: Option<CxError> = None;
}
