//! `postroom health URL`: whether a server answers as it should. For health checks in containers that have no `curl`.

use std::io;
use std::pin::pin;
use std::time::Duration;

use http_body_util::Empty;
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::CliError;

/// Shorter than the interval of any sensible health check.
const DEADLINE: Duration = Duration::from_secs(3);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// `http://HOST:PORT/PATH` (200 is healthy), or `imap://`, `smtp://` or `nats://HOST:PORT` (the right greeting is)
    url: String,
}

#[derive(Debug, thiserror::Error)]
enum HealthError {
    #[error(
        "`{0}` is no URL to check; give http://HOST:PORT/PATH, imap://HOST:PORT, smtp://HOST:PORT or nats://HOST:PORT"
    )]
    Url(String),
    #[error("{address} does not answer")]
    Connect {
        address: String,
        #[source]
        source: io::Error,
    },
    #[error("{url} answers {status}")]
    Status { url: String, status: u16 },
    #[error("{address} speaks no HTTP")]
    Http {
        address: String,
        #[source]
        source: hyper::Error,
    },
    #[error("{address} greets with {greeting:?}, not with {wanted:?}")]
    Greeting {
        address: String,
        greeting: String,
        wanted: &'static str,
    },
    #[error("{0} took longer than {DEADLINE:?}")]
    Slow(String),
}

pub(super) async fn run(args: Args) -> Result<(), CliError> {
    let url = args.url;
    match tokio::time::timeout(DEADLINE, check(&url)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error @ HealthError::Url(_))) => Err(CliError::wrong(error)),
        Ok(Err(error)) => Err(CliError::failed(error)),
        Err(_) => Err(CliError::failed(HealthError::Slow(url))),
    }
}

async fn check(url: &str) -> Result<(), HealthError> {
    let unknown = || HealthError::Url(url.to_owned());
    let (scheme, rest) = url.split_once("://").ok_or_else(unknown)?;
    match scheme {
        "http" => http(url, rest).await,
        "imap" => greeting(rest, "* OK").await,
        "smtp" => greeting(rest, "220").await,
        "nats" => greeting(rest, "INFO ").await,
        _ => Err(unknown()),
    }
}

async fn connect(address: &str) -> Result<TcpStream, HealthError> {
    TcpStream::connect(address)
        .await
        .map_err(|source| HealthError::Connect {
            address: address.to_owned(),
            source,
        })
}

async fn http(url: &str, rest: &str) -> Result<(), HealthError> {
    let (address, path) = rest
        .split_once('/')
        .map_or((rest, "/".to_owned()), |(address, path)| {
            (address, format!("/{path}"))
        });
    let failed = |source| HealthError::Http {
        address: address.to_owned(),
        source,
    };
    let stream = connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let request = Request::get(path)
        .header("host", address)
        .body(Empty::<Bytes>::new())
        .map_err(|_| HealthError::Url(url.to_owned()))?;
    // The connection is polled only while the answer is awaited, and dropped with it. A server that closes after its
    // answer ends it first; the answer is there then.
    let mut answer = pin!(sender.send_request(request));
    let answer = tokio::select! {
        answer = &mut answer => answer,
        ended = connection => match ended {
            Ok(()) => answer.await,
            Err(source) => Err(source),
        },
    }
    .map_err(failed)?;
    match answer.status().as_u16() {
        200 => Ok(()),
        status => Err(HealthError::Status {
            url: url.to_owned(),
            status,
        }),
    }
}

async fn greeting(address: &str, wanted: &'static str) -> Result<(), HealthError> {
    let mut stream = connect(address).await?;
    let mut greeting = vec![0; wanted.len()];
    let read = stream.read_exact(&mut greeting).await;
    if read.is_err() || greeting != wanted.as_bytes() {
        let greeting = String::from_utf8_lossy(&greeting).into_owned();
        return Err(HealthError::Greeting {
            address: address.to_owned(),
            greeting,
            wanted,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    async fn server(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            if answer.starts_with("HTTP") {
                let _ = stream.read(&mut [0; 1024]).await;
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        address
    }

    #[tokio::test]
    async fn the_right_answer_is_healthy_and_no_other_is() {
        let ok = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        let away = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
        check(&format!("http://{}/ready", server(ok).await))
            .await
            .unwrap();
        let error = check(&format!("http://{}/ready", server(away).await))
            .await
            .unwrap_err();
        assert!(error.to_string().ends_with("answers 503"), "{error}");
        check(&format!("imap://{}", server("* OK ready\r\n").await))
            .await
            .unwrap();
        check(&format!("smtp://{}", server("220 ready\r\n").await))
            .await
            .unwrap();
        let error = check(&format!("smtp://{}", server("554 go away\r\n").await))
            .await
            .unwrap_err();
        assert!(matches!(error, HealthError::Greeting { .. }), "{error}");
        assert!(matches!(check("ftp://x").await, Err(HealthError::Url(_))));
    }
}
