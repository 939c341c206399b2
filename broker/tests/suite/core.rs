//! Publish, subscribe, request, queue groups, headers.

use std::time::Duration;

use async_nats::HeaderMap;
use futures_util::StreamExt;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) async fn check(url: &str) {
    publish_and_wildcards(url).await;
    requests(url).await;
    queue_groups(url).await;
    large_payloads(url).await;
}

async fn publish_and_wildcards(url: &str) {
    let client = async_nats::connect(url).await.unwrap();
    let mut all = client.subscribe("greet.>").await.unwrap();
    let mut one = client.subscribe("greet.*").await.unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("X", "y");
    client
        .publish_with_headers("greet.ann", headers, "hi".into())
        .await
        .unwrap();
    client.publish("greet.ann.again", "hi".into()).await.unwrap();
    let first = timeout(PATIENCE, all.next()).await.unwrap().unwrap();
    assert_eq!(
        (first.subject.as_str(), &first.payload[..]),
        ("greet.ann", b"hi".as_slice())
    );
    assert_eq!(first.headers.unwrap().get("X").unwrap().as_str(), "y");
    let second = timeout(PATIENCE, all.next()).await.unwrap().unwrap();
    assert_eq!(second.subject.as_str(), "greet.ann.again");
    assert_eq!(
        timeout(PATIENCE, one.next())
            .await
            .unwrap()
            .unwrap()
            .subject
            .as_str(),
        "greet.ann"
    );
}

async fn requests(url: &str) {
    let client = async_nats::connect(url).await.unwrap();
    let error = client.request("nobody.home", "".into()).await.unwrap_err();
    assert_eq!(error.kind(), async_nats::RequestErrorKind::NoResponders);
    let mut service = client.subscribe("echo").await.unwrap();
    let answering = tokio::spawn({
        let client = client.clone();
        async move {
            let request = service.next().await.unwrap();
            client
                .publish(request.reply.unwrap(), request.payload)
                .await
                .unwrap();
        }
    });
    client.flush().await.unwrap();
    let answer = timeout(PATIENCE, client.request("echo", "ping".into()))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&answer.payload[..], b"ping");
    answering.await.unwrap();
}

async fn queue_groups(url: &str) {
    let client = async_nats::connect(url).await.unwrap();
    let mut members = Vec::new();
    for _ in 0..3 {
        members.push(client.queue_subscribe("work", "group".into()).await.unwrap());
    }
    let mut watcher = client.subscribe("work").await.unwrap();
    for n in 0..60 {
        client.publish("work", n.to_string().into()).await.unwrap();
    }
    client.publish("work", "end".into()).await.unwrap();
    let mut seen = 0;
    while &timeout(PATIENCE, watcher.next()).await.unwrap().unwrap().payload[..] != b"end" {
        seen += 1;
    }
    assert_eq!(seen, 60);
    client.flush().await.unwrap();
    let mut taken = 0;
    for member in &mut members {
        member.unsubscribe().await.unwrap();
        while timeout(PATIENCE, member.next()).await.unwrap().is_some() {
            taken += 1;
        }
    }
    assert_eq!(taken, 61, "each message goes to exactly one member");
}

async fn large_payloads(url: &str) {
    let client = async_nats::connect(url).await.unwrap();
    let mut subscriber = client.subscribe("large").await.unwrap();
    let payload = vec![b'x'; 1024 * 1024];
    client.publish("large", payload.clone().into()).await.unwrap();
    let message = timeout(PATIENCE, subscriber.next()).await.unwrap().unwrap();
    assert!(message.payload == payload);
}
