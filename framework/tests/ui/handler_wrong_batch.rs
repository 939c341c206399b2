use postroom::{BatchCx, CxError, HandleBatch, Handler, Item, Message};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Message)]
#[message(subject = "orders.created", id = "orders.created.v1")]
struct OrderCreated {
    order: String,
}

#[derive(Handler)]
#[handler(on = OrderCreated, id = "too-large", batch(1001, within = "soon"))]
struct TooLarge;

#[derive(Handler)]
#[handler(on = OrderCreated, id = "without-time", batch(0))]
struct WithoutTime;

#[derive(Handler)]
#[handler(on = OrderCreated, id = "misspelt", batch(10, withing = "1s"))]
struct Misspelt;

#[derive(Handler)]
#[handler(on = OrderCreated, id = "once", batch(10, within = "1s"), retry(max = 1), ambiguous = Hold)]
struct Once;

macro_rules! handles {
    ($($handler:ident),*) => {$(
        impl HandleBatch<OrderCreated> for $handler {
            type Error = CxError;
            async fn handle_batch(&self, _: &mut [Item<OrderCreated>], _: &mut BatchCx) -> Result<(), CxError> {
                Ok(())
            }
        }
    )*};
}

handles!(TooLarge, WithoutTime, Misspelt, Once);

fn main() {}
