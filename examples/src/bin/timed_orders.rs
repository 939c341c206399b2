//! A layer of one's own: tells how long each delivery took, and what it came to.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use postroom::{App, Delivery, DeliveryError, Message, Spec};
use serde::{Deserialize, Serialize};
use tower::{Layer, Service};

#[derive(Debug, Serialize, Deserialize, Message)]
#[message(subject = "orders.created", id = "orders.created.v1")]
struct OrderCreated {
    order: String,
}

#[derive(Clone)]
struct Timed<S = ()>(S);

impl<S> Layer<S> for Timed {
    type Service = Timed<S>;

    fn layer(&self, inner: S) -> Timed<S> {
        Timed(inner)
    }
}

impl<S> Service<Delivery> for Timed<S>
where
    S: Service<Delivery, Response = (), Error = DeliveryError, Future: Send + 'static>,
{
    type Response = ();
    type Error = DeliveryError;
    type Future = Pin<Box<dyn Future<Output = Result<(), DeliveryError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), DeliveryError>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, delivery: Delivery) -> Self::Future {
        let (handler, key, begun) = (delivery.handler(), delivery.key().clone(), Instant::now());
        let called = self.0.call(delivery);
        Box::pin(async move {
            let answer = called.await;
            eprintln!("{handler} {key}: {answer:?} in {:?}", begun.elapsed());
            answer
        })
    }
}

async fn pack(order: OrderCreated) {
    eprintln!("packing {}", order.order);
}

#[tokio::main]
async fn main() -> postroom::Result<()> {
    let app = App::from_env().await?.layer(Timed(()));
    app.function(Spec::new("pack-order"), pack).run().await
}
