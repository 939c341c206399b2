use postroom::{App, CxError, Message, Spec};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Message)]
#[message(subject = "orders.created", id = "orders.created.v1")]
struct OrderCreated {
    order: String,
}

async fn confirm(_: OrderCreated) -> Result<(), CxError> {
    let shared = std::rc::Rc::new(1);
    std::future::ready(()).await;
    drop(shared);
    Ok(())
}

fn add(app: App) -> App {
    app.function(Spec::new("confirm-order"), confirm)
}

fn main() {}
