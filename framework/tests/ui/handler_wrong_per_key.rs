use postroom::{Cx, CxError, Handle, Handler, Message};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Message)]
#[message(subject = "orders.created", id = "orders.created.v1")]
struct OrderCreated {
    order: String,
}

#[derive(Handler)]
#[handler(on = OrderCreated, id = "ordered-and-two", per_key(order, 2, ordered))]
struct OrderedAndTwo;

#[derive(Handler)]
#[handler(on = OrderCreated, id = "misspelt", per_key(order, orderd, rate = "10 a second"))]
struct Misspelt;

#[derive(Handler)]
#[handler(on = OrderCreated, id = "nothing-said", per_key(order))]
struct NothingSaid;

#[derive(Handler)]
#[handler(on = OrderCreated, id = "twice", per_key(order, 2, 3, rate = "1/s", rate = "2/s"))]
struct Twice;

macro_rules! handles {
    ($($handler:ident),*) => {$(
        impl Handle<OrderCreated> for $handler {
            type Error = CxError;
            async fn handle(&self, _: OrderCreated, _: &mut Cx<'_>) -> Result<(), CxError> {
                Ok(())
            }
        }
    )*};
}

handles!(OrderedAndTwo, Misspelt, NothingSaid, Twice);

fn main() {}
